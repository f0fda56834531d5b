#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What a shell makes of lines when TAB is pressed.

usage: press_tab.py bash|zsh COMPLETIONS LINE...

COMPLETIONS is the folder with the files of completion.  The shell runs in a terminal of its own; each LINE is typed, `^`
in it is the place of the cursor (the end, if there is none), and what stands on the line after TAB is printed.
A LINE that begins with `*` gets all candidates instead.
"""
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time

PATIENCE = 60       # seconds, for a shell that never answers

BASH = r'''
PS1= PS2=
bind 'set bell-style none'
bind 'set enable-bracketed-paste off'
bind '"\C-xa": insert-completions'
bind -x '"\C-xd": printf "\nLINE<%s>\n" "$READLINE_LINE"'
. {folder}/imgbox.bash
echo REA''DY
'''
ZSH = r'''
PS1= PS2= PROMPT_EOL_MARK=
unset zle_bracketed_paste
unsetopt beep
fpath=({folder} $fpath)
autoload -U compinit
compinit -u -D
show() {{ zle -I; print -r -- "LINE<$BUFFER>" }}
zle -N show
bindkey -e
bindkey '^Xd' show
zle -C everything complete-word _generic
zstyle ':completion:everything:*' insert yes
zstyle ':completion:everything::::' completer _all_matches _complete
bindkey '^Xa' everything
print REA''DY
'''
SHELLS = {
    'bash': (['bash', '--norc', '--noprofile', '-i'], BASH),
    'zsh': (['zsh', '-f', '-i'], ZSH),
}


class Shell:
    def __init__(self, name, folder):
        command, rules = SHELLS[name]
        self.master, slave = pty.openpty()
        environment = dict(os.environ, TERM='dumb', COLUMNS='200', HISTFILE='')
        self.process = subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave, start_new_session=True,
                                        env=environment)
        os.close(slave)
        self.seen = ''
        self.type(rules.format(folder=folder).strip() + '\n')
        self.expect(r'READY\r?\n')

    def type(self, text):
        data = text.encode()
        while data:
            data = data[os.write(self.master, data):]

    def expect(self, pattern):
        end = time.monotonic() + PATIENCE
        while True:
            found = re.search(pattern, self.seen)
            if found:
                self.seen = self.seen[found.end():]
                return found
            ready, _, _ = select.select([self.master], [], [], max(0, end - time.monotonic()))
            if not ready:
                sys.exit(f'press_tab.py: the shell does not answer; it said: {self.seen[-2000:]!r}')
            try:
                self.seen += os.read(self.master, 65536).decode(errors='replace')
            except OSError:
                sys.exit(f'press_tab.py: the shell has ended; it said: {self.seen[-2000:]!r}')

    def complete(self, line):
        key = '\t'
        if line.startswith('*'):
            line, key = line[1:], '\x18a'
        before, _, behind = line.partition('^')
        self.type('\x01\x0b' + before + behind + '\x02' * len(behind) + key + '\x18d')
        return self.expect(r'LINE<(.*?)>\r?\n').group(1)

    def end(self):
        os.close(self.master)
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def main():
    name, folder, lines = sys.argv[1], sys.argv[2], sys.argv[3:]
    shell = Shell(name, folder)
    for line in lines:
        print(shell.complete(line))
    shell.end()


main()
