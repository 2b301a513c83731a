complete -c spice-top -l once -d 'Ask once, print, and end'
complete -c spice-top -l json -d 'Print JSON objects'
complete -c spice-top -l interval -x -d 'Ask so often, in seconds'
complete -c spice-top -s h -l help
complete -c spice-top -s V -l version
