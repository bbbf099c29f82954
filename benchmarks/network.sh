#!/usr/bin/env bash
# Run a command on ranks that a network of a given speed connects: one network namespace of Linux for each, on this machine.
#
#     sudo benchmarks/network.sh 2 1gbit charrnn train corpus.txt --steps 400
#
# RANKS: at most 9; RATE: of each link and direction, as `tc` writes it, such as 100mbit. It needs root and the MPICH of the
# package `mpich`, makes a bridge and a namespace for each rank, and removes them at its end. MPICH uses TCP alone.
set -euo pipefail
ranks=$1 rate=$2
shift 2

name=charrnn$$
folder=$(mktemp -d)
remove() {
    for rank in switch $(seq "$ranks"); do ip netns del "$name-$rank" 2> /dev/null || true; done
    rm -rf "$folder"
}
trap remove EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

inside() { ip netns exec "$name-$1" "${@:2}"; }
ip netns add "$name-switch"
inside switch ip link add bridge type bridge
inside switch ip link set bridge up
hosts=
for rank in $(seq "$ranks"); do
    ip netns add "$name-$rank"
    ip link add "port$rank" netns "$name-switch" type veth peer name eth0 netns "$name-$rank"
    inside switch ip link set "port$rank" master bridge up
    inside "$rank" ip address add "10.77.0.$rank/24" dev eth0
    inside "$rank" ip link set lo up
    inside "$rank" ip link set eth0 up
    inside switch tc qdisc add dev "port$rank" root tbf rate "$rate" burst 128kb latency 100ms
    inside "$rank" tc qdisc add dev eth0 root tbf rate "$rate" burst 128kb latency 100ms
    hosts+=,10.77.0.$rank:1
done

# In the place of ssh: [OPTION]... HOST COMMAND...
cat > "$folder/ssh" << END
#!/usr/bin/env bash
while [[ \$1 == -* ]]; do shift; done
rank=\${1##*.}
exec ip netns exec "$name-\$rank" unshare --uts bash -c "hostname host\$rank; exec \${*:2}"
END
chmod +x "$folder/ssh"

inside 1 mpiexec -localhost 10.77.0.1 -launcher ssh -launcher-exec "$folder/ssh" -hosts "${hosts#,}" -iface eth0 \
    -genv UCX_TLS tcp,self -genv UCX_NET_DEVICES eth0 -n "$ranks" "$@"
