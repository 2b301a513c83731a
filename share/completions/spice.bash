# bash completion for spice-port, spice-serve, spice-top and spice-server-config

_spice_tools() {
    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]} words
    case $1 in
        *spice-port)
            words='--list --password-file --ca-file --host-subject --linger --keep --break
                --no-compression --quiet --verbose --help --version' ;;
        *spice-serve)
            words='--port --tls-port --addr --unix --cert --key --ca --password-file
                --no-password --name --help --version' ;;
        *spice-top) words='--once --json --interval --help --version' ;;
        *) words='--check --vm-name --vm-uuid --example --help --version' ;;
    esac
    case $before in
        --*-file | --unix | --cert | --key | --ca | --check)
            mapfile -t COMPREPLY < <(compgen -f -- "$word")
            compopt -o filenames
            return ;;
        --interval | --host-subject | --linger | --port | --tls-port | --addr | --name | --vm-name | --vm-uuid)
            return ;;
    esac
    if [[ $1 == *spice-top && $word != -* ]]; then
        mapfile -t COMPREPLY < <(compgen -f -- "$word")
        compopt -o filenames
        return
    fi
    [[ $word == -* ]] || words=
    [[ $1 == *spice-port && $word != -* ]] && words='spice:// spice+tls:// spice+unix://'
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$word")
}
complete -F _spice_tools spice-port spice-serve spice-top spice-server-config
