# complete.zsh DIRECTORY LINE - what zsh offers, one a line, when TAB is pressed behind LINE and completions are in
# DIRECTORY. A zsh of its own on a terminal of its own does it: nothing of its completion system is played.
zmodload zsh/zpty

setup=$(mktemp) || exit
cat >$setup <<'END'
PROMPT= RPROMPT=
autoload -Uz compinit
compinit -u -D
bindkey '^I' complete-word
zstyle ':completion:*' insert-tab false
first() { print BEGIN }
last() { print END }
compprefuncs=(first)
comppostfuncs=(last)
# Whoever offers something calls this one. With -O, -A or -D it only asks what would match.
compadd() {
    if [[ " ${(j: :)@[1,(i)(-|--)]} " == *\ -[a-zA-Z]#[OAD]\ * ]]; then
        builtin compadd "$@"
        return
    fi
    local -a hits
    builtin compadd -O hits "$@"
    (( $#hits )) && print -rl -- $hits
    builtin compadd "$@"
}
print rea''dy
END

zpty line "zsh -f -i"
zpty -w line "fpath=(${(q)1} \$fpath); source $setup"
zpty -r line seen '*ready*'
rm -f $setup
zpty -w -n line "$2"$'\t'
while zpty -r line text $'*\n'; do
    text=${text%$'\n'}
    text=${text%$'\r'}
    case $text in
    *BEGIN*) on=1 ;;
    *END*) break ;;
    *) (( on )) && print -r -- $text ;;
    esac
done
zpty -d line
