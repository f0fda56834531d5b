# SPDX-License-Identifier: MIT
"""A web server on loopback that does what real ones do on a bad day.

usage: web_server.py FOLDER PORT-FILE

The first part of a path says how the file behind it is served; the port is written to PORT-FILE once it listens.
  ok        as it should be
  nohead    HEAD is not allowed
  norange   without ranges
  drop      the connection ends after 100,000 bytes of a body
  busy      every second request is answered by 503
  limit     every second request is answered by 429 and Retry-After
  shift     a range begins 512 bytes late
  long      a range is longer than asked for
  changes   after 3 requests it is another version (ETag)
  grows     after 3 requests it is 512 bytes longer
  expire    redirects to an address that is good for 3 requests
  gone      after 3 requests it is not there
  stall     a body longer than 65,536 bytes stops there, and the connection stays
  chunked   without a length
  cut       without ranges; the second body ends after 100,000 bytes, the third after 3,000,000
  cutother  the same, and from the third body on it is another version (ETag)
  stub      without ranges; each body ends after 100,000 bytes
  hang      without ranges; each body stops after 65,536 bytes, and the connection stays
  gzip      says that its content is coded, as some do for .gz files
  digest    wants digest authentication: bob, secret
  away      redirects to another port of the server, which tells what credentials it got
"""
import hashlib
import http.server
import os
import re
import sys
import threading
import time

WHOLE = ('norange', 'chunked', 'cut', 'cutother', 'stub', 'hang')
NONCE = '0123456789abcdef'


class Counts:
    def __init__(self):
        self.lock = threading.Lock()
        self.of = {}

    def next(self, what):
        with self.lock:
            self.of[what] = self.of.get(what, 0) + 1
            return self.of[what]


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    disable_nagle_algorithm = True

    def log_message(self, *arguments):
        pass

    def do_HEAD(self):
        self.answer(False)

    def do_GET(self):
        self.answer(True)

    def refuse(self, code, *headers):
        self.send_response(code)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header('Content-Length', '0')
        self.end_headers()

    def redirect(self, to):
        self.refuse(302, ('Location', to))

    def authorised(self):
        given = dict(re.findall(r'(\w+)="?([^",]*)', self.headers.get('Authorization') or ''))
        one = hashlib.md5(b'bob:rig:secret').hexdigest()
        two = hashlib.md5(('GET:' + self.path).encode()).hexdigest()
        parts = [one, NONCE, given.get('nc', ''), given.get('cnonce', ''), 'auth', two]
        return given.get('response') == hashlib.md5(':'.join(parts).encode()).hexdigest()

    def answer(self, with_body):
        way, _, rest = self.path.lstrip('/').partition('/')
        name = rest.partition('?')[0]
        path = os.path.join(self.server.folder, name.rpartition('/')[2])
        number = self.server.counts.next((way, rest))
        if way == 'count':
            return self.tell(str(self.server.counts.of))
        if way == 'secrets':
            return self.tell('%s %s' % (self.headers.get('Authorization'), self.headers.get('Cookie')))
        if not os.path.isfile(path) or (way == 'gone' and number > 3):
            return self.refuse(404)
        if way == 'nohead' and not with_body:
            return self.refuse(405)
        if way in ('busy', 'limit') and number % 2:
            return self.refuse(503 if way == 'busy' else 429, ('Retry-After', '0'))
        if way == 'expire':
            return self.redirect('/signed/%d/%s' % (number, name))
        if way == 'signed' and number > 3:
            return self.refuse(403)
        if way == 'away':
            return self.redirect('http://localhost:%d/seen/%s' % (self.server.server_port, name))
        if way == 'seen' and (self.headers.get('Authorization') or self.headers.get('Cookie')):
            return self.refuse(418)
        if way == 'digest' and not self.authorised():
            return self.refuse(401, ('WWW-Authenticate', 'Digest realm="rig", nonce="%s", qop="auth"' % NONCE))
        self.serve(way, number, path, with_body)

    def tell(self, text):
        self.send_response(200)
        self.send_header('Content-Length', str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def serve(self, way, number, path, with_body):
        size = os.path.getsize(path) + (512 if way == 'grows' and number > 3 else 0)
        found = re.fullmatch(r'bytes=(\d+)-(\d*)', self.headers.get('Range') or '')
        start, end = 0, size
        if found and way not in WHOLE:
            start = int(found.group(1))
            end = min(int(found.group(2) or size - 1) + 1, size)
            if start >= size:
                return self.refuse(416, ('Content-Range', 'bytes */%d' % size))
            start += 512 if way == 'shift' and number > 1 else 0
            end = min(end + (512 if way == 'long' and number > 1 else 0), size)
            self.send_response(206)
            self.send_header('Content-Range', 'bytes %d-%d/%d' % (start, end - 1, size))
        else:
            self.send_response(200)
        self.send_header('ETag', '"%d"' % (number > 3 if way == 'changes' else number > 2 if way == 'cutother' else 0))
        if way not in WHOLE:
            self.send_header('Accept-Ranges', 'bytes')
        if way == 'gzip':
            self.send_header('Content-Encoding', 'gzip')
        if way == 'chunked':
            self.send_header('Transfer-Encoding', 'chunked')
        else:
            self.send_header('Content-Length', str(end - start))
        self.end_headers()
        if with_body:
            self.body(way, number, path, start, end)

    def body(self, way, number, path, start, end):
        sent = 0
        most = {'drop': 100000, 'stub': 100000}.get(way, end)
        if way in ('cut', 'cutother'):
            most = {2: 100000, 3: 3000000}.get(number, end)
        with open(path, 'rb') as file:
            file.seek(start)
            while start < end:
                piece = file.read(min(65536, end - start)).ljust(1, b'\0')
                if way in ('stall', 'hang') and sent >= 65536:
                    time.sleep(3600)
                if sent + len(piece) > most:
                    self.wfile.write(piece[:most - sent])
                    self.close_connection = True
                    return
                self.wfile.write(b'%x\r\n%s\r\n' % (len(piece), piece) if way == 'chunked' else piece)
                sent += len(piece)
                start += len(piece)
        if way == 'chunked':
            self.wfile.write(b'0\r\n\r\n')


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, client_address):
        pass        # a client that left


def main():
    server = Server(('127.0.0.1', 0), Handler)
    server.folder, server.counts = sys.argv[1], Counts()
    with open(sys.argv[2] + '.new', 'w') as file:
        file.write('%d\n' % server.server_port)
    os.rename(sys.argv[2] + '.new', sys.argv[2])
    server.serve_forever()


if __name__ == '__main__':
    main()
