#compdef weir
# zsh completion for weir. To try it, after compinit:   source <(weir completion zsh)
# For every new shell, see: weir completion --help

_weir() {
    local how line word
    local -a before lines plain shown
    before=("${(@)words[1,CURRENT-1]}")
    lines=("${(@f)$("${(Q)words[1]}" __complete_line zsh "${(j: :)before} ${QIPREFIX}${IPREFIX}${PREFIX}" 2>/dev/null)}")
    how=$lines[1]
    shift lines
    local -a nospace
    [[ $how == nospace ]] && nospace=(-S '')
    for line in "${(@)lines}"; do
        [[ -n $line ]] || continue
        word=${line%%$'\t'*}
        line=${line#*$'\t'}
        plain+=("$word")
        [[ -n $line ]] && shown+=("$word  -- $line") || shown+=("$word")
    done
    case $how in
    files) _files ;;
    dirs) _files -/ ;;
    *)
        (( ${#plain} )) || return 1
        # Described ones have a line each.
        if [[ "${(j::)shown}" == *'  -- '* ]]; then
            compadd -V weir -l -d shown "${(@)nospace}" -- "${(@)plain}"
        else
            compadd -V weir "${(@)nospace}" -- "${(@)plain}"
        fi
        ;;
    esac
}

# Sourced, it registers itself; as a file of fpath it is the function.
if [[ ${funcstack[1]} == _weir ]]; then
    _weir "$@"
elif (( $+functions[compdef] )); then
    compdef _weir weir
fi
