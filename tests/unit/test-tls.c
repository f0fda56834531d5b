/* SPDX-License-Identifier: MIT */
/*
 * TLS sessions, with both ends in this process over a pair of sockets: each kind of credentials, what is refused, time-
 * outs, much data both ways at once, and ends that close in the middle.
 */
#include "test.h"
#include "libimg/net.h"
#include "libimg/util/cleanup.h"
#include "libimg/util/strbuf.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>

static char folder[] = "/tmp/test-tls.XXXXXX";

/* ---- Credentials ------------------------------------------------------------------ */

__attribute__((format(printf, 1, 2)))
static void run(const char *format, ...)
{
    struct img_strbuf command = { 0 };
    va_list arguments;

    va_start(arguments, format);
    img_strbuf_vprintf(&command, format, arguments);
    va_end(arguments);
    if (system(command.text) != 0)
        printf("# failed: %s\n", command.text);
    img_strbuf_free(&command);
}

static void put_file(const char *name, const char *text)
{
    CLEANUP_FREE char *path = img_asprintf("%s/%s", folder, name);
    FILE *file = fopen(path, "w");

    fputs(text, file);
    fclose(file);
}

/* A certificate FOLDER/NAME-cert.pem that FOLDER/ca-cert.pem has signed; all have one key, which is quicker. */
static void sign(const char *name, const char *template)
{
    put_file("template", template);
    run("certtool --generate-certificate --load-privkey %s/key.pem --load-ca-certificate %s/ca-cert.pem "
        "--load-ca-privkey %s/key.pem --template %s/template --outfile %s/%s-cert.pem 2> /dev/null",
        folder, folder, folder, folder, folder, name);
    run("cp %s/key.pem %s/%s-key.pem", folder, folder, name);
}

#define DATES "activation_date = \"2001-01-01 00:00:00 UTC\"\nexpiration_date = \"2999-01-01 00:00:00 UTC\"\n"

static bool make_certificates(void)
{
    if (system("certtool --version > /dev/null 2>&1") != 0)
        return false;
    run("certtool --generate-privkey --key-type=ecdsa --curve=secp256r1 --outfile %s/key.pem 2> /dev/null", folder);
    put_file("template", "cn = \"test CA\"\nca\ncert_signing_key\n" DATES);
    run("certtool --generate-self-signed --load-privkey %s/key.pem --template %s/template --outfile %s/ca-cert.pem "
        "2> /dev/null", folder, folder, folder);
    sign("server", "cn = \"host.example\"\ndns_name = \"host.example\"\nip_address = \"127.0.0.1\"\n"
         "ip_address = \"::1\"\ntls_www_server\nsigning_key\n" DATES);
    sign("client", "cn = \"one client\"\norganization = \"imgbox\"\ntls_www_client\nsigning_key\n" DATES);
    run("mkdir %s/bare && cp %s/ca-cert.pem %s/bare", folder, folder, folder);
    run("mkdir %s/other && certtool --generate-self-signed --load-privkey %s/key.pem --template %s/template "
        "--outfile %s/other/ca-cert.pem 2> /dev/null", folder, folder, folder, folder);
    return true;
}

static struct img_tls_creds *creds(struct img_tls_definition definition)
{
    struct img_error err = IMG_ERROR_INIT;
    struct img_tls_creds *made = NULL;

    if (img_tls_new(&definition, &made, &err) < 0)
        printf("# credentials: %s\n", err.text);
    img_error_clear(&err);
    return made;
}

static struct img_tls_creds *anon(bool server)
{
    return creds((struct img_tls_definition){ .kind = IMG_TLS_ANON, .server = server });
}

static struct img_tls_creds *psk(bool server, const char *file, const char *user)
{
    CLEANUP_FREE char *path = img_asprintf("%s/%s", folder, file);

    return creds((struct img_tls_definition){ .kind = IMG_TLS_PSK, .server = server, .psk_file = path,
                                              .username = user });
}

/* (the keys of the test allow no key encipherment, for the sake of a quick key: no sanity check) */
static struct img_tls_creds *x509(bool server, const char *inside, bool verify)
{
    CLEANUP_FREE char *path = img_asprintf("%s/%s", folder, inside);

    return creds((struct img_tls_definition){ .kind = IMG_TLS_X509, .server = server, .dir = path,
                                              .verify_peer = verify });
}

/* ---- Two ends -------------------------------------------------------------------------- */

struct end {
    struct img_tls_creds *creds;
    const char *host;
    int fd, result;                 /* the descriptor that was given; that with the plain bytes, or the error */
    char *peer, *text;
};

static void *start(void *argument)
{
    struct end *end = argument;
    struct img_error err = IMG_ERROR_INIT;

    end->result = img_tls_start(end->creds, end->fd, end->host, 20000, -1, &end->peer, &err);
    end->text = err.text ? strdup(err.text) : NULL;
    img_error_clear(&err);
    return NULL;
}

static void make_pair(int pair[2])
{
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
        exit(1);
}

/* Start TLS on both ends of a pair of sockets; ends[0] is the server. */
static void connect_pair(struct end ends[2], struct img_tls_creds *server, struct img_tls_creds *client,
                         const char *host, const int pair[2])
{
    pthread_t thread;

    ends[0] = (struct end){ .creds = server, .fd = pair[0] };
    ends[1] = (struct end){ .creds = client, .fd = pair[1], .host = host };
    pthread_create(&thread, NULL, start, &ends[0]);
    start(&ends[1]);
    pthread_join(thread, NULL);
}

static void connect_ends(struct end ends[2], struct img_tls_creds *server, struct img_tls_creds *client,
                         const char *host)
{
    int pair[2];

    make_pair(pair);
    connect_pair(ends, server, client, host, pair);
}

static void free_ends(struct end ends[2])
{
    for (int i = 0; i < 2; i++) {
        if (ends[i].result >= 0)
            close(ends[i].result);
        free(ends[i].peer);
        free(ends[i].text);
    }
}

static void wait_for(int fd, short events)
{
    struct pollfd poll_fd = { .fd = fd, .events = events };

    poll(&poll_fd, 1, 20000);
}

/* Read until the end, or `length` bytes. */
static size_t read_some(int fd, void *bytes, size_t length)
{
    size_t done = 0;

    while (done < length) {
        ssize_t n = read(fd, (char *)bytes + done, length - done);

        if (n < 0 && errno == EAGAIN)
            wait_for(fd, POLLIN);
        else if (n <= 0)
            break;
        else
            done += (size_t)n;
    }
    return done;
}

/* False: the other end is gone. */
static bool write_some(int fd, const void *bytes, size_t length)
{
    size_t done = 0;

    while (done < length) {
        ssize_t n = send(fd, (const char *)bytes + done, length - done, MSG_NOSIGNAL);

        if (n < 0 && errno == EAGAIN)
            wait_for(fd, POLLOUT);
        else if (n < 0)
            return false;
        else
            done += (size_t)n;
    }
    return true;
}

/* Both are connected and talk. */
static bool talks(struct end ends[2])
{
    char text[6] = "", back[6] = "";

    if (ends[0].result < 0 || ends[1].result < 0) {
        printf("# server: %s, client: %s\n", ends[0].text ? ends[0].text : "-", ends[1].text ? ends[1].text : "-");
        return false;
    }
    return write_some(ends[1].result, "hello", 6) && read_some(ends[0].result, text, 6) == 6 &&
           write_some(ends[0].result, text, 6) && read_some(ends[1].result, back, 6) == 6 && !strcmp(back, "hello");
}

static void accepted(const char *name, struct img_tls_creds *server, struct img_tls_creds *client, const char *host,
                     const char *peer)
{
    struct end ends[2];

    connect_ends(ends, server, client, host);
    OK(talks(ends), "%s: both ends talk", name);
    test_same(ends[0].peer, peer, "who the client is");
    OK(!ends[1].peer, "the client learns no name");
    if (ends[1].result >= 0)
        OK(fcntl(ends[1].result, F_GETFL) & O_NONBLOCK && fcntl(ends[1].result, F_GETFD) & FD_CLOEXEC,
           "not blocking, close-on-exec");
    free_ends(ends);
    img_tls_free(server);
    img_tls_free(client);
}

/* One end, or both, refuse; NULL: that end does not. */
static void refused(const char *name, struct img_tls_creds *server, struct img_tls_creds *client, const char *host,
                    const char *server_text, const char *client_text)
{
    struct end ends[2];

    printf("# %s\n", name);
    connect_ends(ends, server, client, host);
    if (server_text)
        test_same(ends[0].text, server_text, "the server says why");
    if (client_text)
        test_same(ends[1].text, client_text, "the client says why");
    free_ends(ends);
    img_tls_free(server);
    img_tls_free(client);
}

/* ---- The tests ----------------------------------------------------------------------------- */

#define ENDED "TLS handshake failed: The TLS connection was non-properly terminated."

static void test_anon_and_psk(void)
{
    put_file("keys", "other:00112233445566778899aabbccddeeff\nqemu:ffeeddccbbaa99887766554433221100\n");
    put_file("wrong", "qemu:00112233445566778899aabbccddeeff\n");
    accepted("anon", anon(true), anon(false), NULL, NULL);
    accepted("psk", psk(true, "keys", NULL), psk(false, "keys", NULL), NULL, NULL);
    accepted("psk, another user", psk(true, "keys", NULL), psk(false, "keys", "other"), "any", NULL);
    refused("psk, wrong key", psk(true, "keys", NULL), psk(false, "wrong", NULL), NULL,
            "TLS handshake failed: An illegal parameter has been received.", ENDED);
    refused("psk with anon", psk(true, "keys", NULL), anon(false), NULL,
            "TLS handshake failed: No supported cipher suites have been found.", ENDED);
}

static void test_x509(void)
{
    accepted("x509", x509(true, ".", true), x509(false, ".", true), "host.example", "O=imgbox,CN=one client");
    accepted("x509, IPv4", x509(true, ".", true), x509(false, ".", true), "127.0.0.1", "O=imgbox,CN=one client");
    accepted("x509, IPv6", x509(true, ".", true), x509(false, ".", true), "::1", "O=imgbox,CN=one client");
    accepted("x509, no client certificate asked for", x509(true, ".", false), x509(false, "bare", true),
             "host.example", NULL);
    accepted("x509, nobody looks", x509(true, ".", false), x509(false, "bare", false), NULL, NULL);
    refused("x509, wrong host", x509(true, ".", true), x509(false, ".", true), "wrong.example", NULL,
            "Certificate does not match the hostname wrong.example");
    refused("x509, wrong address", x509(true, ".", true), x509(false, ".", true), "127.0.0.2", NULL,
            "Certificate does not match the hostname 127.0.0.2");
    refused("x509, no host", x509(true, ".", true), x509(false, ".", true), NULL, NULL,
            "No hostname for certificate validation");
    refused("x509, unknown CA", x509(true, ".", true), x509(false, "other", true), "host.example", NULL,
            "The certificate hasn't got a known issuer");
    refused("x509, no client certificate", x509(true, ".", true), x509(false, "bare", true), "host.example",
            "Verify failed: No certificate was found.", NULL);
}

/* The server refuses the client's certificate only after the client thinks that all is well. */
static void test_why(void)
{
    struct img_tls_creds *server = x509(true, ".", true), *client = x509(false, "bare", true);
    struct img_error err = IMG_ERROR_INIT;
    struct end ends[2];
    char byte;

    connect_ends(ends, server, client, "host.example");
    OK(ends[1].result >= 0 && read_some(ends[1].result, &byte, 1) == 0, "the client reads the end");
    OK(img_tls_why(ends[1].result, &err) < 0, "and can ask why");
    test_same(err.text, "Cannot read from TLS channel: The TLS connection was non-properly terminated.", "why");
    img_error_clear(&err);
    OK(!write_some(ends[1].result, &byte, 1) && errno == EPIPE, "it can write no more");
    free_ends(ends);
    img_tls_free(server);
    img_tls_free(client);
}

/* A peer that says nothing. */
static void test_silence(void)
{
    struct img_tls_creds *client = anon(false);
    struct img_error err = IMG_ERROR_INIT;
    int pair[2], stop[2];

    make_pair(pair);
    OK(img_tls_start(client, pair[0], NULL, 50, -1, NULL, &err) == -ETIMEDOUT, "time-out");
    test_same(err.text, "TLS handshake failed: Connection timed out", "its text");
    img_error_clear(&err);
    close(pair[1]);
    make_pair(pair);
    OK(pipe(stop) == 0 && write(stop[1], "", 1) == 1 &&
       img_tls_start(client, pair[0], NULL, 0, stop[0], NULL, &err) == -ECANCELED, "stop");
    OK(send(pair[1], "", 1, MSG_NOSIGNAL) == -1 && errno == EPIPE, "the descriptor is closed after a failure, too");
    img_error_clear(&err);
    close(pair[1]);
    make_pair(pair);
    OK(write(pair[1], "this is no TLS, but a greeting", 30) == 30 &&
       img_tls_start(client, pair[0], NULL, 0, -1, NULL, &err) < 0, "a peer that speaks no TLS");
    img_error_clear(&err);
    close(pair[1]);
    close(stop[0]);
    close(stop[1]);
    img_tls_free(client);
}

/* ---- Much data --------------------------------------------------------------------------------- */

enum { MUCH = 64 << 20, PIECE = 100003 };

struct flow {
    int fd;
    unsigned long long seed;
    size_t length;
    bool good;
};

static void fill(unsigned char *bytes, size_t length, unsigned long long *seed)
{
    for (size_t i = 0; i < length; i++)
        bytes[i] = (unsigned char)test_random(seed);
}

static void *write_flow(void *argument)
{
    struct flow *flow = argument;
    unsigned char *bytes = malloc(PIECE);

    flow->good = true;
    for (size_t left = flow->length, n; left > 0 && flow->good; left -= n) {
        n = left < PIECE ? left : PIECE;
        fill(bytes, n, &flow->seed);
        flow->good = write_some(flow->fd, bytes, n);
    }
    shutdown(flow->fd, SHUT_WR);
    free(bytes);
    return NULL;
}

static void *read_flow(void *argument)
{
    struct flow *flow = argument;
    unsigned char *bytes = malloc(PIECE), *wanted = malloc(PIECE);

    flow->good = true;
    for (size_t left = flow->length, n; left > 0 && flow->good; left -= n) {
        n = left < PIECE ? left : PIECE;
        fill(wanted, n, &flow->seed);
        flow->good = read_some(flow->fd, bytes, n) == n && !memcmp(bytes, wanted, n);
    }
    flow->good = flow->good && read_some(flow->fd, bytes, 1) == 0;
    free(bytes);
    free(wanted);
    return NULL;
}

static void test_much(void)
{
    struct img_tls_creds *server = psk(true, "keys", NULL), *client = psk(false, "keys", NULL);
    struct img_error err = IMG_ERROR_INIT;
    struct flow flows[4];
    pthread_t threads[4];
    struct end ends[2];
    bool good = true;

    connect_ends(ends, server, client, NULL);
    /* Credentials may go while sessions still use them. */
    img_tls_free(server);
    img_tls_free(client);
    for (int i = 0; i < 4; i++) {
        flows[i] = (struct flow){ .fd = ends[i / 2].result, .seed = i == 0 || i == 3 ? 1 : 2, .length = MUCH };
        pthread_create(&threads[i], NULL, i % 2 ? read_flow : write_flow, &flows[i]);
    }
    for (int i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
        good = good && flows[i].good;
    }
    OK(good, "64 MiB both ways at once arrive, each with its end");
    OK(img_tls_why(ends[0].result, &err) == 0, "there is no reason to complain about");
    img_error_clear(&err);
    free_ends(ends);
}

/* ---- Ends that close ------------------------------------------------------------------------------ */

static void test_last_bytes(void)
{
    struct img_tls_creds *server = anon(true), *client = anon(false);
    static unsigned char bytes[1 << 20], got[1 << 20];
    struct end ends[2];
    unsigned long long seed = 3;
    size_t sent;

    fill(bytes, sizeof bytes, &seed);
    connect_ends(ends, server, client, NULL);
    sent = (size_t)send(ends[1].result, bytes, sizeof bytes, MSG_NOSIGNAL);
    close(ends[1].result);
    OK(read_some(ends[0].result, got, sizeof got) == sent && !memcmp(got, bytes, sent),
       "what was written before close arrives, then the end");
    ends[1].result = -1;
    free_ends(ends);

    connect_ends(ends, server, client, NULL);
    sent = (size_t)send(ends[0].result, bytes, sizeof bytes, MSG_NOSIGNAL);
    OK(write_some(ends[1].result, bytes, 100), "the other end has written, too, and nobody reads that");
    close(ends[0].result);
    OK(read_some(ends[1].result, got, sizeof got) == sent && !memcmp(got, bytes, sent), "it still arrives");
    ends[0].result = -1;
    free_ends(ends);
    img_tls_free(server);
    img_tls_free(client);
}

/* The end closes while its peer writes without end: the writer learns it. */
static void test_close_in_the_middle(int closing)
{
    struct img_tls_creds *server = anon(true), *client = anon(false);
    struct flow flow;
    pthread_t thread;
    struct end ends[2];
    char bytes[1000];

    connect_ends(ends, server, client, NULL);
    flow = (struct flow){ .fd = ends[!closing].result, .length = (size_t)1 << 40 };
    pthread_create(&thread, NULL, write_flow, &flow);
    OK(read_some(ends[closing].result, bytes, sizeof bytes) == sizeof bytes, "the first bytes are there");
    close(ends[closing].result);
    ends[closing].result = -1;
    pthread_join(thread, NULL);
    OK(!flow.good, "the writer learns that nobody reads");
    free_ends(ends);
    img_tls_free(server);
    img_tls_free(client);
}

/* The wire is cut: no bye. */
static void test_cut(void)
{
    struct img_tls_creds *server = anon(true), *client = anon(false);
    struct img_error err = IMG_ERROR_INIT;
    struct end ends[2];
    int pair[2], copy;
    char byte;

    make_pair(pair);
    copy = dup(pair[0]);
    connect_pair(ends, server, client, NULL, pair);
    OK(talks(ends), "connected");
    shutdown(copy, SHUT_RDWR);
    close(copy);
    OK(read_some(ends[1].result, &byte, 1) == 0 && img_tls_why(ends[1].result, &err) < 0,
       "a cut is told from an end");
    img_error_clear(&err);
    free_ends(ends);
    img_tls_free(server);
    img_tls_free(client);
}

/* The peer is another process, which must be made before there are threads. */
static void test_drain(void)
{
    struct end ends[2] = { { .host = NULL } };
    int pair[2], status = 1;
    char bytes[5] = "";
    pid_t child;

    make_pair(pair);
    fflush(stdout);
    child = fork();
    close(pair[child != 0]);
    ends[child == 0] = (struct end){ .fd = pair[child == 0], .creds = anon(child == 0) };
    start(&ends[child == 0]);
    img_tls_free(ends[child == 0].creds);
    if (child == 0)
        _exit(read_some(ends[1].result, bytes, 5) != 5 || strcmp(bytes, "last") != 0 ||
              read_some(ends[1].result, bytes, 1) != 0);
    OK(write_some(ends[0].result, "last", 5), "written just before the process exits");
    OK(img_tls_drain(20000), "drained");
    OK(child > 0 && waitpid(child, &status, 0) == child && status == 0, "the other process got it, and the end");
    free_ends(ends);
}

/* ---- Credentials by id ---------------------------------------------------------------------------- */

static void not_found(const char *id, bool server, const char *text)
{
    struct img_error err = IMG_ERROR_INIT;

    OK(!img_tls_find(id, server, &err), "not found: %s", id);
    test_same(err.text, text, "its text");
    img_error_clear(&err);
}

static void test_ids(void)
{
    struct img_tls_definition definition = { .kind = IMG_TLS_ANON };
    struct img_error err = IMG_ERROR_INIT;

    OK(img_tls_add("t", &definition, &err) == 0 && img_tls_find("t", false, &err), "found by id");
    OK(img_tls_add("t", &definition, &err) == -EEXIST, "the id is taken");
    img_error_clear(&err);
    OK(img_object_add("o", &err) == 0, "an object of another kind");
    not_found("t", true, "Expected TLS credentials for a server endpoint");
    not_found("x", false, "No TLS credentials with id 'x'");
    not_found("o", false, "Object with id 'o' is not TLS credentials");
    img_objects_free();
}

/* ---- Who may connect ---------------------------------------------------------------------------------- */

static void define(const char *id, const char *kind, const char *json)
{
    struct img_error err = IMG_ERROR_INIT;
    struct img_doc *definition = img_doc_parse(json, &err);

    OK(definition && img_authz_add(id, kind, definition, &err) == 0, "%s %s", kind, json);
    img_doc_free(definition);
    img_error_clear(&err);
}

static void asked(const char *id, const char *peer, const char *text)
{
    struct img_error err = IMG_ERROR_INIT;
    int ret = img_authz_allows(id, peer, &err);

    OK((ret == 0) == !text, "%s: %s", id, peer ? peer : "(no certificate)");
    test_same(err.text, text, "its text");
    img_error_clear(&err);
}

static void test_authz(void)
{
    CLEANUP_FREE char *file = img_asprintf("{\"filename\":\"%s/list\"}", folder);
    CLEANUP_FREE char *once = img_asprintf("{\"filename\":\"%s/list\",\"refresh\":\"off\"}", folder);
    struct img_error err = IMG_ERROR_INIT;

    define("simple", "authz-simple", "{\"identity\":\"CN=a\"}");
    asked("simple", "CN=a", NULL);
    asked("simple", "CN=ab", "TLS x509 authz check for CN=ab is denied");
    asked("simple", NULL, NULL);
    define("list", "authz-list", "{\"policy\":\"deny\",\"rules\":[{\"match\":\"CN=no*\",\"policy\":\"deny\","
           "\"format\":\"glob\"},{\"match\":\"CN=?\",\"policy\":\"allow\",\"format\":\"glob\"},"
           "{\"match\":\"*x*y*\",\"policy\":\"allow\",\"format\":\"glob\"},"
           "{\"match\":\"CN=*\",\"policy\":\"allow\"}]}");
    asked("list", "CN=nobody,x,y", "TLS x509 authz check for CN=nobody,x,y is denied");
    asked("list", "CN=b", NULL);
    asked("list", "CN=\xc3\xa4", NULL);
    asked("list", "CN=bc", "TLS x509 authz check for CN=bc is denied");
    asked("list", "CN=xxxy", NULL);
    asked("list", "CN=*", NULL);
    define("flat", "authz-list", "{\"policy\":\"allow\",\"rules.0.match\":\"CN=a\",\"rules.0.policy\":\"deny\"}");
    asked("flat", "CN=a", "TLS x509 authz check for CN=a is denied");
    asked("flat", "CN=b", NULL);
    put_file("list", "{\"rules\":[{\"match\":\"CN=a\",\"policy\":\"allow\"}]}");
    define("file", "authz-list-file", file);
    define("once", "authz-list-file", once);
    asked("file", "CN=a", NULL);
    put_file("list", "{\"rules\":[{\"match\":\"CN=b\",\"policy\":\"allow\"}]}");
    asked("file", "CN=a", "TLS x509 authz check for CN=a is denied");
    asked("file", "CN=b", NULL);
    asked("once", "CN=a", NULL);
    asked("none", "CN=a", "Cannot find QAuthZ object ID none");
    put_file("list", "{");
    OK(img_authz_allows("file", "CN=b", &err) < 0, "a list that cannot be read allows nobody");
    img_error_clear(&err);
    img_objects_free();
}

int main(void)
{
    struct img_error err = IMG_ERROR_INIT;
    struct img_tls_creds *made = NULL;
    int ret;

    signal(SIGPIPE, SIG_DFL);       /* it must not be raised */
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (!mkdtemp(folder))
        return 1;
    test_authz();
    ret = img_tls_new(&(struct img_tls_definition){ .kind = IMG_TLS_ANON }, &made, &err);
    if (ret == -ENOTSUP) {
        test_same(err.text, "tls support is not built in", "without the module");
        img_error_clear(&err);
        OK(img_tls_add("t", &(struct img_tls_definition){ .kind = IMG_TLS_X509, .dir = "none" }, &err) == 0,
           "credentials that nobody uses are accepted");
        not_found("t", false, "tls support is not built in");
        img_objects_free();
        run("rm -r %s", folder);
        return test_end();
    }
    OK(ret == 0, "the module is there");
    img_tls_free(made);
    test_drain();
    test_ids();
    test_anon_and_psk();
    if (make_certificates()) {
        test_x509();
        test_why();
    } else {
        printf("# no certtool: x509 is skipped\n");
    }
    test_silence();
    test_much();
    test_last_bytes();
    test_close_in_the_middle(0);
    test_close_in_the_middle(1);
    test_cut();
    OK(img_tls_drain(20000), "all sessions are over");
    run("rm -r %s", folder);
    return test_end();
}
