complete -c spice-serve -f
complete -c spice-serve -l port -x -d 'Listen on this TCP port'
complete -c spice-serve -l tls-port -x -d 'Listen with TLS'
complete -c spice-serve -l addr -x -d 'Address to listen on'
complete -c spice-serve -l unix -r -F -d 'Listen on a unix socket'
complete -c spice-serve -l cert -r -F -d 'Certificate chain'
complete -c spice-serve -l key -r -F -d 'Key'
complete -c spice-serve -l ca -r -F -d 'Authority'
complete -c spice-serve -l password-file -r -F -d 'Read the password from a file'
complete -c spice-serve -l no-password -d 'Whoever comes may'
complete -c spice-serve -l name -x -d 'Name of the machine'
complete -c spice-serve -s h -l help
complete -c spice-serve -s V -l version
