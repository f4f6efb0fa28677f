# usage: healthcheck.sh REST_PORT MODEL_NAME; exits 0 if a Predict for nobody is answered.
# Of bash alone: the serving images have no HTTP client.
body='{"signature_name": "recommend_examples", "instances": [{"b64": ""}]}'
exec 3<>"/dev/tcp/127.0.0.1/$1" || exit 1
printf 'POST /v1/models/%s:predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s' \
  "$2" "${#body}" "$body" >&3
read -r -u 3 _ status _ || exit 1
[ "$status" = 200 ]
