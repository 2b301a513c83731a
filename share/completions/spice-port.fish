complete -c spice-port -f
complete -c spice-port -s l -l list -d 'List the ports'
complete -c spice-port -l password-file -r -F -d 'Read the password from a file'
complete -c spice-port -l ca-file -r -F -d 'Trust these authorities'
complete -c spice-port -l host-subject -x -d 'Subject of the certificate'
complete -c spice-port -l linger -x -d 'Leave so long after input'
complete -c spice-port -l keep -d 'Stay when the guest closes the port'
complete -c spice-port -l break -d 'Send a break first'
complete -c spice-port -l no-compression -d 'Send nothing compressed'
complete -c spice-port -s q -l quiet -d 'No progress'
complete -c spice-port -s v -l verbose -d 'Tell events'
complete -c spice-port -s h -l help
complete -c spice-port -s V -l version
complete -c spice-port -a 'spice:// spice+tls:// spice+unix://'
