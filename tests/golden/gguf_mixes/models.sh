# The models and types of types.txt, for record.sh and for the test that compares.
# shellcheck shell=sh disable=SC2034
models='gqa4 gqa2 tied narrow'
types='q8_0 q6_k q5_k_m q5_k_s q4_k_m q4_k_s q3_k_l q3_k_m q3_k_s q2_k q5_1 q5_0 q4_1 q4_0 iq4_nl iq4_xs tq1_0 tq2_0 q4_k q5_k q3_k'
shape() {
    case $1 in
    gqa4) echo hidden=256,inter=256,layers=18,heads=4,kv=1,vocab=32 ;;
    gqa2) echo hidden=256,inter=256,layers=16,heads=4,kv=2,vocab=32 ;;
    tied) echo hidden=256,inter=512,layers=9,heads=4,kv=2,vocab=32,tie=1 ;;
    narrow) echo hidden=64,inter=256,layers=8,heads=4,kv=1,vocab=32 ;;
    esac
}
# The types of the matrices in the order of woq-extract --list, runs of one type counted.
types_of() { woq-extract --list "$1" 2>/dev/null | awk '$1 ~ /weight$/ && $2 != "F32" { print $2 }' | uniq -c | awk '{ printf "%s%sx%s", sep, $1, $2; sep = "," }'; }
