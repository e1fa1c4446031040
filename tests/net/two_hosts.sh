#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Runs a program under MPI on two "hosts" of this machine: two network namespaces, joined by a wire that has a delay
# and a bandwidth. Needs root. The wire is a program (delay_link.cc), since not every kernel has netem.
#
#   tests/net/two_hosts.sh [--delay-us 1000] [--gbit 10] [--ranks 2] [--cut-after SECONDS] [--mca NAME VALUE]… -- COMMAND…
#
# The first half of the ranks runs in the first namespace, where mpirun is, the others in the second. With
# --cut-after the wire drops everything from then on. The exit code is mpirun's.
set -euo pipefail
cd "$(dirname "$0")/../.."

delay_us=1000 gbit=10 ranks=2 cut_after= mca=()
while (($# > 0)); do
  case $1 in
    --delay-us) delay_us=$2; shift 2 ;;
    --gbit) gbit=$2; shift 2 ;;
    --ranks) ranks=$2; shift 2 ;;
    --cut-after) cut_after=$2; shift 2 ;;
    --mca) mca+=(--mca "$2" "$3"); shift 3 ;;
    --) shift; break ;;
    *) printf 'unknown argument %s\n' "$1" >&2; exit 2 ;;
  esac
done
(($# > 0)) || { sed -n '3,9s/^# \{0,1\}//p' "$0" >&2; exit 2; }

readonly A=pstk-a-$$ B=pstk-b-$$ WORK=$(mktemp -d)
link=
cleanup() {
  exec 7>&- 2>/dev/null || true
  [[ -n $link ]] && kill "$link" 2>/dev/null
  for ns in "$A" "$B"; do
    ip netns pids "$ns" 2>/dev/null | xargs -r kill -KILL 2>/dev/null || true
    ip netns del "$ns" 2>/dev/null || true
  done
  rm -rf "$WORK"
}
trap cleanup EXIT

ip netns add "$A"
ip netns add "$B"
mkfifo "$WORK/control"
build/src/comm/delay_link "$A" 10.77.0.1 "$B" 10.77.0.2 "$delay_us" "$gbit" <"$WORK/control" >"$WORK/ready" &
link=$!
exec 7>"$WORK/control"
for _ in $(seq 100); do grep -q ready "$WORK/ready" && break; sleep 0.05; done

# What mpirun calls in place of ssh: agent HOST COMMAND…
cat >"$WORK/agent" <<AGENT
#!/bin/sh
shift
exec ip netns exec $B unshare --uts sh -c "hostname host-b; \$*"
AGENT
chmod +x "$WORK/agent"
printf '10.77.0.1 slots=%d\n10.77.0.2 slots=%d\n' $(((ranks + 1) / 2)) $((ranks / 2)) >"$WORK/hosts"

if [[ -n $cut_after ]]; then (sleep "$cut_after"; date +'cut at %s.%N' >&2; echo cut >&7) & fi
status=0
OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 ip netns exec "$A" unshare --uts sh -c 'hostname host-a; exec "$@"' sh \
  mpirun --hostfile "$WORK/hosts" -n "$ranks" --bind-to none --oversubscribe --mca plm_rsh_agent "$WORK/agent" \
  --mca btl tcp,vader,self --mca btl_tcp_if_include wire --mca oob_tcp_if_include wire "${mca[@]}" \
  "$@" || status=$?
exit "$status"
