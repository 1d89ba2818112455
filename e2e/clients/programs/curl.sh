# Asks each URL every 100 ms, over a new connection, and says how it went.
while sleep 0.1; do
    for url; do
        if error=$(curl --silent --max-time 5 --output /dev/null --write-out '%{errormsg}' "$url"); then
            echo "$url ok"
        else
            echo "$url failed: $error"
        fi
    done
done
