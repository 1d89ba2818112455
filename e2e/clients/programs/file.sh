# Says how many certificates the Bundle's file holds, whenever that changes.
last=
while sleep 0.02; do
    count=$(grep -c -- '-----BEGIN' "$SSL_CERT_FILE")
    [ "$count" = "$last" ] || echo "$count"
    last=$count
done
