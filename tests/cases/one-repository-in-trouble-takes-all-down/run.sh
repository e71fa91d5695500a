. "$(dirname "$0")/../common.sh"; R=$HERE/../rpms
mkdir $W/a $W/b; cp $R/hello-1.0* $W/a; sleep 2.1; conf "" "[repository.a]
path = \"$W/a\"
[repository.b]
path = \"$W/b\""; up $B serve --config $W/c.toml; mv $W/b $W/bb; sleep 2
printf 'defaults\n mode http\n timeout connect 5s\n timeout client 1m\n timeout server 6m\nfrontend f\n bind 127.0.0.1:21902\n default_backend createrepod\nbackend createrepod\n balance source\n option httpchk GET /-/health\n server one 127.0.0.1:%s check\n' $P >$W/ha.cfg; haproxy -f $W/ha.cfg >/dev/null 2>&1 & H=$!; sleep 7
verdict "$(code http://127.0.0.1:21902/a/repodata/repomd.xml)" 200 "repository a through HAProxy while b's directory is away (directly: $(code $U/a/repodata/repomd.xml))"; kill $H; down
rm -rf $W/state; mkdir $W/b $W/keys; echo none >$W/keys/README; printf 'verify = "signature"\nkeyring = "%s"\n' $W/keys >>$W/c.toml; up $B serve --config $W/c.toml; sleep 3; verdict "$(code $U/-/health)" 200 "health while b cannot publish for the first time: $(head -c 60 $W/body)"; down
rm -rf "$W"
