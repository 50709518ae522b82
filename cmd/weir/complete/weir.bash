# bash completion for weir. To try it:       source <(weir completion bash)
# For every new shell, see: weir completion --help

_weir() {
    local how line
    COMPREPLY=()
    {
        IFS= read -r how || return
        while IFS= read -r line; do
            COMPREPLY[${#COMPREPLY[@]}]=$line
        done
    } < <("$1" __complete_line bash "${COMP_LINE:0:$COMP_POINT}" "$COMP_TYPE" "${COLUMNS:-80}" "$COMP_WORDBREAKS" 2>/dev/null)
    # bash 3.2, of macOS, has no compopt: it adds a space, and files.
    [[ $(type -t compopt) == builtin ]] || return 0
    case $how in
    nospace) compopt +o default -o nospace ;;
    none) compopt +o default ;;
    dirs) compopt +o default -o dirnames ;;
    esac
    return 0
}
complete -o default -o nosort -F _weir weir 2>/dev/null || complete -o default -F _weir weir
