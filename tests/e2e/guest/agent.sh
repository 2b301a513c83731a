# The agent on the guest's second serial port. It reads lines
#     run ID SECONDS BASE64-OF-A-SHELL-SCRIPT
# and answers each with a line and then exactly LENGTH bytes of output:
#     @done ID STATUS LENGTH
# When it starts it says "@hello BOOT-ID". A line that it does not understand
# is answered with "@what". Runs one command at a time; longer work goes into
# the background of the guest with "&".
exec 3<>/dev/ttyS1
printf '\n@hello %s\n' "$(cat /proc/sys/kernel/random/boot_id)" >&3
while read -r verb id seconds script <&3; do
    if [ "$verb" != run ] || [ -z "$script" ]; then
        printf '\n@what\n' >&3
        continue
    fi
    {
        echo '. /guest.sh; link_ports'
        echo "$script" | base64 -d
    } >/tmp/agent.script
    timeout -s KILL "$seconds" sh /tmp/agent.script </dev/null >/tmp/agent.output 2>&1 3>&-
    status=$?
    printf '\n@done %s %s %s\n' "$id" "$status" "$(stat -c %s /tmp/agent.output)" >&3
    cat /tmp/agent.output >&3
done
