# sourced by each run.sh: B = the binary, W = an own empty directory, P = a port, start/stop
B=${B:?path of createrepod}; HERE=$(cd "$(dirname "$0")" && pwd); W=$(mktemp -d); P=${P:-21900}; U=http://127.0.0.1:$P
ulimit -c 0
up() { nice -n 10 "$@" >"$W/log" 2>&1 & PID=$!; for i in $(seq 60); do curl -s -o /dev/null $U/-/health && break; sleep 0.1; done; for i in $(seq 40); do curl -sf -o /dev/null $U/-/ready && break; sleep 0.1; done; sleep ${SETTLE:-0.3}; }
down() { kill $PID 2>/dev/null; wait $PID 2>/dev/null; }
code() { curl -s -m 20 -o "$W/body" -w '%{http_code}' "$@"; }
conf() { printf '[server]\nlisten = ["127.0.0.1:%s"]\ncontrol = ""\n%s\n[state]\ndir = "%s/state"\n%s\n' $P "$1" $W "$2" >$W/c.toml; }
verdict() { [ "$1" = "$2" ] && echo "RIGHT: $3" || echo "WRONG: $3: got $1, right is $2"; }
