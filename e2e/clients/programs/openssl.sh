# Shakes hands with the server of each URL every 100 ms, as what uses OpenSSL's
# defaults does, and says how it went.
while sleep 0.1; do
    for url; do
        server=${url#https://}
        server=${server%%/*}
        if answer=$(openssl s_client -connect "$server" -verify_ip "${server%:*}" -verify_return_error -brief </dev/null 2>&1); then
            echo "$url ok"
        else
            echo "$url failed: $(echo "$answer" | tr '\n' ' ')"
        fi
    done
done
