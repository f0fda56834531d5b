#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# --object tls-creds-anon, tls-creds-psk, tls-creds-x509, authz-simple, authz-list, authz-list-file: what is accepted,
# and the words of what is not.

load ../helper

# One key for all certificates: it is the slow part.
setup_file() {
    command -v certtool > /dev/null || return 0
    cd "$BATS_FILE_TMPDIR" || return 1
    certtool --generate-privkey --key-type=rsa --bits 2048 --outfile key 2> /dev/null
    certtool --generate-privkey --key-type=ecdsa --curve=secp256r1 --outfile other.key 2> /dev/null
    certtool --load-privkey key --to-p8 --password=sesame --pkcs-cipher aes-256 --outfile locked.key 2> /dev/null
}

setup() {
    fresh_folder
    PKI=$BATS_FILE_TMPDIR
    case $IMG in
        */network/static/*) return ;;
        */static/*) skip 'the static file has no TLS' ;;
    esac
    [ -n "$IMG_IS_PEER" ] || [ -e "$(dirname "$IMGBOX")/modules/img-tls.so" ] || skip 'TLS is not built in'
}

VALID='activation_date = "2001-01-01 00:00:00 UTC"
expiration_date = "2999-01-01 00:00:00 UTC"'
PAST='activation_date = "2001-01-01 00:00:00 UTC"
expiration_date = "2002-01-01 00:00:00 UTC"'
FUTURE='activation_date = "2998-01-01 00:00:00 UTC"
expiration_date = "2999-01-01 00:00:00 UTC"'
SERVER='tls_www_server
signing_key
encryption_key'
CLIENT='tls_www_client
signing_key
encryption_key'

need_certtool() {
    [ -e "$PKI/key" ] || skip 'no certtool'
}

# ca LINES: ca-cert.pem of folder d, with these lines in its template
ca() {
    mkdir -p d
    printf 'cn = "CA"\nserial = 1\n%s\n' "$1" > template
    certtool --generate-self-signed --load-privkey "$PKI/other.key" --template template --outfile d/ca-cert.pem 2> log
}

good_ca() {
    ca "ca
cert_signing_key
$VALID"
}

# cert NAME LINES: NAME-cert.pem and NAME-key.pem of folder d
cert() {
    printf 'cn = "localhost"\nserial = 2\n%s\n' "$2" > template
    certtool --generate-certificate --load-privkey "$PKI/key" --load-ca-certificate d/ca-cert.pem \
        --load-ca-privkey "$PKI/other.key" --template template --outfile "d/$1-cert.pem" 2> log
    cp "$PKI/key" "d/$1-key.pem"
}

# defined OBJECT, refused_as OBJECT TEXT...: by a command that does not use it
defined() {
    img 0 create -q --object "$1" -f raw x 1M
    silent
}

refused_as() {
    img 1 create -q --object "$1" -f raw x 1M
    err "qemu-img: $2" "${@:3}"
}

@test "object-tls: x509: the files that must be there" {
    local x=tls-creds-x509,id=t
    refused_as $x "Missing 'dir' property value"
    refused_as $x,dir=none 'Unable to access credentials none/ca-cert.pem: No such file or directory'
    refused_as $x,dir= 'Unable to access credentials /ca-cert.pem: No such file or directory'
    need_certtool
    good_ca
    defined $x,dir=d
    defined $x,dir=d,endpoint=client
    refused_as $x,dir=d,endpoint=server 'Unable to access credentials d/server-cert.pem: No such file or directory'
    cert server "$SERVER
$VALID"
    rm d/server-key.pem
    refused_as $x,dir=d,endpoint=server 'Unable to access credentials d/server-key.pem: No such file or directory'
    cp "$PKI/key" d/server-key.pem
    defined $x,dir=d,endpoint=server
    cp "$PKI/key" d/ca-crl.pem
    refused_as $x,dir=d,endpoint=server "Cannot load CRL 'd/ca-crl.pem': Base64 decoding error."
    refused_as $x,dir=d/ca-cert.pem 'Unable to access credentials d/ca-cert.pem/ca-cert.pem: Not a directory'
}

@test "object-tls: x509: certificates that no peer would accept" {
    local server=tls-creds-x509,id=t,dir=d,endpoint=server client=tls-creds-x509,id=t,dir=d,endpoint=client
    need_certtool
    good_ca
    cert server "$SERVER
$PAST"
    refused_as $server 'The server certificate d/server-cert.pem has expired'
    defined $server,sanity-check=off
    cert server "$SERVER
$FUTURE"
    refused_as $server 'The server certificate d/server-cert.pem is not yet active'
    cert server "ca
$SERVER
$VALID"
    refused_as $server \
        'The certificate d/server-cert.pem basic constraints show a CA, but we need one for a server'
    cert server "tls_www_server
encryption_key
$VALID"
    refused_as $server 'Certificate d/server-cert.pem usage does not permit digital signature'
    cert server "tls_www_server
signing_key
$VALID"
    refused_as $server 'Certificate d/server-cert.pem usage does not permit key encipherment'
    cert client "$CLIENT
$PAST"
    refused_as $client 'The client certificate d/client-cert.pem has expired'
    cert client "$CLIENT
$VALID"
    defined $client
}

@test "object-tls: x509: the certificate of the CA" {
    local client=tls-creds-x509,id=t,dir=d
    need_certtool
    ca "ca
cert_signing_key
$PAST"
    refused_as $client 'The CA certificate d/ca-cert.pem has expired'
    defined $client,sanity-check=off
    ca "ca
cert_signing_key
$FUTURE"
    refused_as $client 'The CA certificate d/ca-cert.pem is not yet active'
    ca "cert_signing_key
$VALID"
    refused_as $client 'The certificate d/ca-cert.pem basic constraints do not show a CA'
    ca "ca
signing_key
$VALID"
    refused_as $client 'Certificate d/ca-cert.pem usage does not permit certificate signing'
    echo nothing > d/ca-cert.pem
    refused_as $client 'Unable to import CA certificate list d/ca-cert.pem'
    rm d/ca-cert.pem
    mkdir d/ca-cert.pem
    refused_as $client \
        'Cannot load CA cert list d/ca-cert.pem: Error reading file “d/ca-cert.pem”: Is a directory'
}

@test "object-tls: x509: a key that does not fit, is locked, or is none; a certificate of another CA" {
    local server=tls-creds-x509,id=t,dir=d,endpoint=server
    local pair="Cannot load certificate 'd/server-cert.pem' & key 'd/server-key.pem'"
    need_certtool
    good_ca
    cert server "$SERVER
$VALID"
    cp "$PKI/other.key" d/server-key.pem
    refused_as $server "$pair: The certificate and the given key do not match."
    cp "$PKI/locked.key" d/server-key.pem
    refused_as $server "$pair: Decryption has failed."
    refused_as $server,passwordid=p "No secret with id 'p'"
    img 0 create -q --object secret,id=p,data=sesame --object $server,passwordid=p -f raw x 1M
    img 1 create -q --object secret,id=p,data=wrong --object $server,passwordid=p -f raw x 1M
    err "qemu-img: $pair: Decryption has failed."
    img 1 create -q --object secret,id=p,data=/w==,format=base64 --object $server,passwordid=p -f raw x 1M
    err 'qemu-img: Data from secret p is not valid UTF-8'
    printf 'cn = "localhost"\n%s\n%s\n' "$SERVER" "$VALID" > template
    certtool --generate-self-signed --load-privkey "$PKI/key" --template template --outfile d/server-cert.pem 2> log
    cp "$PKI/key" d/server-key.pem
    pair='Our own certificate d/server-cert.pem failed validation against d/ca-cert.pem'
    refused_as $server "$pair: The certificate hasn't got a known issuer"
    echo nothing > d/server-cert.pem
    refused_as $server 'Unable to import server certificate d/server-cert.pem: Base64 unexpected header error.'
}

@test "object-tls: psk" {
    local psk=tls-creds-psk,id=t
    refused_as $psk "Missing 'dir' property value"
    refused_as $psk,dir=d 'Unable to access credentials d/keys.psk: No such file or directory'
    mkdir d
    printf 'other:00112233445566778899aabbccddeeff\nqemu:ffeeddccbbaa99887766554433221100\n' > d/keys.psk
    defined $psk,dir=d
    defined $psk,dir=d,endpoint=server
    defined $psk,dir=d,username=other
    refused_as $psk,dir=d,username=othe 'Username othe not found in PSK file d/keys.psk'
    refused_as $psk,dir=d,username=other,endpoint=server 'username should not be set when endpoint=server'
    printf 'qemu:zz\n' > d/keys.psk
    refused_as $psk,dir=d 'Cannot set PSK client credentials: Error in parsing.'
    rm d/keys.psk
    mkdir d/keys.psk
    refused_as $psk,dir=d 'Cannot read PSK file d/keys.psk: Error reading file “d/keys.psk”: Is a directory'
}

@test "object-tls: anon, and the members of all kinds" {
    local anon=tls-creds-anon,id=t
    defined $anon
    defined $anon,dir=none,endpoint=server
    defined $anon,priority=any
    defined $anon,verify-peer=no
    mkdir d
    echo nothing > d/dh-params.pem
    defined $anon,dir=d
    refused_as $anon,dir=d,endpoint=server \
        'Unable to load DH parameters from d/dh-params.pem: Base64 unexpected header error.'
    refused_as tls-creds-anon "Parameter 'id' is missing"
    refused_as $anon,endpoint=both "Parameter 'endpoint' does not accept value 'both'"
    refused_as $anon,verify-peer=1 "Parameter 'verify-peer' expects 'on' or 'off'"
    refused_as $anon,username=x "Parameter 'username' is unexpected"
    refused_as $anon,passwordid=x "Parameter 'passwordid' is unexpected"
    refused_as $anon,other.x=1 "Parameter 'other' is unexpected"
    refused_as $anon,dir.x=1 "Parameters 'dir.*' are unexpected"
    refused_as $anon,dir=d,dir.x=1 "Parameters 'dir.*' used inconsistently"
    refused_as tls-creds-anon,id=1 "Parameter 'id' expects an identifier" \
        "Identifiers consist of letters, digits, '-', '.', '_', starting with a letter."
    img 1 create -q --object $anon --object secret,id=t,data=x -f raw x 1M
    err "qemu-img: attempt to add duplicate property 't' to object (type 'container')"
    # an id that is taken counts before what the files say
    img 1 create -q --object secret,id=t,data=x --object tls-creds-x509,id=t,dir=none -f raw x 1M
    err "qemu-img: attempt to add duplicate property 't' to object (type 'container')"
}

@test "object-tls: in JSON" {
    local anon='"qom-type":"tls-creds-anon","id":"t"'
    defined "{$anon,\"verify-peer\":false,\"endpoint\":\"server\"}"
    refused_as "{$anon,\"verify-peer\":\"on\"}" "Invalid parameter type for 'verify-peer', expected: boolean"
    refused_as "{$anon,\"priority\":1,\"endpoint\":1}" "Invalid parameter type for 'endpoint', expected: string"
    refused_as "{$anon,\"priority\":1}" "Invalid parameter type for 'priority', expected: string"
    refused_as "{$anon,\"dir\":null}" "Invalid parameter type for 'dir', expected: string"
    refused_as '{"qom-type":"tls-creds-psk","id":"t","username":0}' \
        "Invalid parameter type for 'username', expected: string"
}

@test "object-tls: authz-simple and authz-list" {
    local list=authz-list,id=a rule=rules.0.match=x
    defined authz-simple,id=a,identity=x
    refused_as authz-simple,id=a "Parameter 'identity' is missing"
    refused_as authz-simple,id=a,identity=x,y=z "Parameter 'y' is unexpected"
    defined $list
    defined $list,policy=allow,$rule,rules.0.policy=allow,rules.0.format=glob,rules.1.match=y,rules.1.policy=deny
    refused_as $list,policy=perhaps "Parameter 'policy' does not accept value 'perhaps'"
    refused_as $list,$rule "Parameter 'rules.0.policy' is missing"
    refused_as $list,rules.0.policy=allow "Parameter 'rules.0.match' is missing"
    refused_as $list,$rule,rules.0.policy=x "Parameter 'policy' does not accept value 'x'"
    refused_as $list,$rule,rules.0.policy=deny,rules.0.format=x "Parameter 'format' does not accept value 'x'"
    refused_as $list,$rule,rules.0.policy=deny,rules.0.more=x "Parameter 'rules.0.more' is unexpected"
    refused_as $list,$rule,rules.0.policy=deny,rules.2.match=x "Parameter 'rules.1' missing"
    refused_as $list,$rule,rules.0.policy.x=deny "Parameters 'rules.0.policy.*' are unexpected"
    refused_as $list,$rule,rules.0.policy=deny,rules.x=1 "Parameters 'rules.*' used inconsistently"
    refused_as $list,rules=x "Invalid parameter type for 'rules', expected: array"
    refused_as $list,rules.0=x "Invalid parameter type for 'rules.0', expected: object"
    list='"qom-type":"authz-list","id":"a","rules"'
    defined "{$list:[{\"match\":\"x\",\"policy\":\"allow\",\"format\":\"glob\"}]}"
    refused_as "{$list:{}}" "Invalid parameter type for 'rules', expected: array"
    refused_as "{$list:[1]}" "Invalid parameter type for 'rules[0]', expected: object"
    refused_as "{$list:[{\"match\":\"x\"}]}" "Parameter 'rules[0].policy' is missing"
    refused_as "{$list:[{\"match\":1}]}" "Invalid parameter type for 'rules[0].match', expected: string"
}

@test "object-tls: authz-list-file" {
    beyond
    local list=authz-list-file,id=a
    echo '{"policy":"deny","rules":[{"match":"CN=x","policy":"allow"}]}' > list
    defined $list,filename=list
    defined $list,filename=list,refresh=off
    refused_as $list "Parameter 'filename' is missing"
    refused_as $list,filename=list,refresh=x "Parameter 'refresh' expects 'on' or 'off'"
    # shellcheck disable=SC1111
    refused_as $list,filename=none \
        "Cannot read the list of clients 'none': Failed to open file “none”: No such file or directory"
    echo '{"policy":"x"}' > list
    refused_as $list,filename=list \
        "Cannot read the list of clients 'list': Parameter 'policy' does not accept value 'x'"
    echo '[]' > list
    refused_as $list,filename=list "Cannot read the list of clients 'list': It is not a JSON object"
}

@test "object-tls: help" {
    img 0 create --object tls-creds-x509,help -f raw x 1M
    out 'tls-creds-x509 options:' '  dir=<string>' '  endpoint=<QCryptoTLSCredsEndpoint>' '  passwordid=<string>' \
        '  priority=<string>' '  sanity-check=<bool>' '  verify-peer=<bool>'
    img 0 create --object tls-creds-psk,help -f raw x 1M
    out 'tls-creds-psk options:' '  dir=<string>' '  endpoint=<QCryptoTLSCredsEndpoint>' '  priority=<string>' \
        '  username=<string>' '  verify-peer=<bool>'
    img 0 create --object tls-creds-anon,help -f raw x 1M
    out 'tls-creds-anon options:' '  dir=<string>' '  endpoint=<QCryptoTLSCredsEndpoint>' '  priority=<string>' \
        '  verify-peer=<bool>'
    img 0 create --object authz-list,help -f raw x 1M
    out 'authz-list options:' '  policy=<QAuthZListPolicy>' '  rules=<QAuthZListRule>'
    [ ! -e x ]
}
