#!/bin/sh
# sidecar.sh - runs a command only while this node leads, with nothing but curl. It is here to be read:
# `raftctl exec` does the same better. It asks the command to stop before it kills it, it tells raftd
# when it has stopped, so that the next leader need not wait, and it is not as late as a shell may be.
#
# usage: sidecar.sh COMMAND [ARGUMENT]...      RAFTD_URL: raftd's [http] listen, http://127.0.0.1:7480
#
# With [http] https: RAFTD_URL=https://HOST:7480, and CURL_CA_BUNDLE is a copy of [tls] ca.
#
# COMMAND finds its fence in RAFTD_FENCE, and hands it to whatever it writes to.
#
# The rule. An answer entitles for lease_remaining_ms, counted from when the question was *sent*: how long
# the answer was on its way nobody knows. So a long poll tells *when to ask*, never for how long.
#
# The clock is /proc/uptime. It goes on while the machine sleeps, and nobody sets it as `date` is set. It cuts
# off what is below 10 ms; MARGIN covers that, and the kill.
set -u

MARGIN=60 # ms before the claim lapses
url=${RAFTD_URL:-http://127.0.0.1:7480}
child=
held=
deadline=0

now() { # milliseconds since boot
    read -r up _ </proc/uptime
    echo $((${up%.*} * 1000 + 1${up#*.} * 10 - 1000)) # the 1, because 08 would be octal
}

seconds() { # MILLISECONDS: as curl and sleep want it
    printf '%d.%03d' $(($1 / 1000)) $(($1 % 1000))
}

# In a subshell, which becomes curl: then it can be killed. 503 has an answer, too.
ask() { # MILLISECONDS [CURL_ARGUMENT]...: prints the answer, nothing when there is none
    limit=$(seconds "$1")
    shift
    exec curl -s -G --max-time "$limit" "$@" "$url/v1/leader"
}

field() { # NAME: its value in $answer. Within strings of JSON a quote has a backslash, so none is mistaken
    printf '%s\n' "$answer" | sed -n 's/.*"'"$1"'":"\{0,1\}\([^",}]*\).*/\1/p'
}

gain() {
    RAFTD_FENCE=$fence setsid "$@" & # a process group of its own
    child=$!
    held=$fence
    echo "sidecar: it runs, fence $fence" >&2
}

lose() { # WHY
    if [ -n "$child" ]; then
        kill -KILL "-$child" 2>/dev/null
        wait "$child" 2>/dev/null
        child=
        echo "sidecar: stopped: $1" >&2
    fi
}

has_ended() { # by itself; the shell has taken note of it while it waited for curl
    [ -n "$child" ] && ! kill -0 "$child" 2>/dev/null
}

[ $# -gt 0 ] || { echo "usage: sidecar.sh COMMAND [ARGUMENT]..." >&2; exit 2; }
poll=
trap 'lose "told to end"; [ -z "$poll" ] || kill "$poll" 2>/dev/null; exit 0' TERM INT

while :; do
    if has_ended; then
        wait "$child"
        exit $?
    fi
    sent=$(now)
    left=$((deadline - sent))
    [ "$left" -gt 0 ] || lose "the claim lapses"
    # While it runs, no question may take longer than the claim.
    if [ -n "$child" ]; then
        answer=$(ask "$left")
    else
        answer=$(ask 2000)
    fi
    fence=$(field fence)
    if [ "$(field is_leader)" = true ]; then
        [ "$fence" = "$held" ] || lose "fence $held is history"
        lease=$(field lease_remaining_ms)
        deadline=$((sent + lease - MARGIN))
        [ -n "$child" ] || [ "$(now)" -ge "$deadline" ] || gain "$@"
        sleep "$(seconds $((lease / 4)))"
    elif [ -n "$answer" ]; then
        lose "this node does not lead"
        # Behind its back, because a shell hears no signal while it waits for what runs in front.
        ask 40000 --data-urlencode wait=30s --data-urlencode "after=$(field etag)" >/dev/null &
        poll=$!
        wait "$poll" || sleep 1
        poll=
    elif [ -z "$child" ]; then
        sleep 1 # nobody answers
    fi
done
