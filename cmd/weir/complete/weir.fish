# fish completion for weir. To try it:       weir completion fish | source
# For every new shell, see: weir completion --help

function __weir_complete
    set -l command (commandline -opc)[1]
    set -l lines ($command __complete_line fish (commandline -cp | string collect) 2>/dev/null)
    set -l how $lines[1]
    set -e lines[1]
    switch "$how"
        case files
            __fish_complete_path (commandline -ct)
        case dirs
            __fish_complete_directories (commandline -ct) ''
        case '*'
            for line in $lines
                echo $line
            end
    end
end

complete -c weir -e
complete -c weir -f -k -a '(__weir_complete)'
