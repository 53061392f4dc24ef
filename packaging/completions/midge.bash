# Completion for midge, mosquitto and mosquitto_passwd in bash.

_midge_passwd() {
    case $prev in
    -H) mapfile -t COMPREPLY < <(compgen -W 'sha512-pbkdf2 sha512 argon2id' -- "$cur") ;;
    -I) ;;
    *)
        if [[ $cur == -* ]]; then
            mapfile -t COMPREPLY < <(compgen -W '-b -c -D -H -I -U -h --help' -- "$cur")
        else
            compopt -o filenames
            mapfile -t COMPREPLY < <(compgen -f -- "$cur")
        fi
        ;;
    esac
}

_midge() {
    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]}
    COMPREPLY=()
    if [[ ${1##*/} == mosquitto_passwd || ${COMP_WORDS[1]} == passwd && $COMP_CWORD -gt 1 ]]; then
        _midge_passwd
        return
    fi
    case $prev in
    -c | --config-file | --tls-keylog)
        compopt -o filenames
        mapfile -t COMPREPLY < <(compgen -f -- "$cur")
        return
        ;;
    -p | --port) return ;;
    --manual)
        mapfile -t COMPREPLY < <(compgen -W 'midge.8 midge.conf.5 mosquitto_passwd.1' -- "$cur")
        return
        ;;
    esac
    local words='-c --config-file -d --daemon -p --port -v --verbose -q --quiet --test-config
        --tls-keylog --options --manual -h --help --version'
    if [[ ${COMP_WORDS[1]} == check && $COMP_CWORD -gt 1 ]]; then
        words='-c --config-file --json -h --help'
    elif [[ ${COMP_WORDS[1]} == export && $COMP_CWORD -gt 1 && $cur != -* ]]; then
        compopt -o filenames
        mapfile -t COMPREPLY < <(compgen -f -- "$cur")
        return
    elif [[ $COMP_CWORD == 1 ]]; then
        words+=' check export passwd'
    fi
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")
}

complete -F _midge midge mosquitto mosquitto_passwd
