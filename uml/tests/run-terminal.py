# SPDX-License-Identifier: GPL-2.0-only
"""run-terminal.py STUBGUARD-RUN: uses it on a terminal. For run-command.sh, which reads "ok NAME" and "not ok NAME"."""

import fcntl
import os
import pty
import re
import select
import signal
import struct
import sys
import termios
import time

PATIENCE = 300


class Session:
    """A program on a terminal of its own."""

    def __init__(self, *arguments, redirect=None):
        self.text = b""
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            if redirect:
                os.dup2(os.open(redirect, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), 1)
            os.execv(sys.argv[1], [sys.argv[1], *arguments])
        self.size(33, 77)

    def size(self, rows, columns):
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def wait_for(self, pattern):
        """Reads until the text matches. The end of the program is the end of waiting, too."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            if re.search(pattern, self.text):
                return True
            if not select.select([self.fd], [], [], 1)[0]:
                continue
            try:
                data = os.read(self.fd, 65536)
            except OSError:
                data = b""
            if not data:
                break
            self.text += data
        return bool(re.search(pattern, self.text))

    def type(self, data):
        os.write(self.fd, data)

    def status(self):
        self.wait_for(rb"\Znever")
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                return os.waitstatus_to_exitcode(status)
            time.sleep(0.05)
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        return None


def check(name, good, session):
    print("ok" if good else "not ok", name)
    if not good:
        print("#", session.text)


def main():
    s = Session("sh", "-c", "test -t 0 && test -t 1 && test -t 2 && tty && stty size && echo runs; read x; stty size; echo got $x; exit 3")
    check("the command has a terminal", s.wait_for(rb"/dev/pts/\d+\r\n"), s)
    check("of the right size", s.wait_for(rb"33 77\r\nruns"), s)
    s.size(20, 40)
    s.type(b"text\r")
    check("what is typed arrives", s.wait_for(rb"got text\r\n"), s)
    check("and a new size", b"20 40" in s.text, s)
    check("the status", s.status() == 3, s)

    s = Session("sh", "-c", "trap 'echo interrupted; exit 9' INT; echo runs; while :; do sleep 0.1; done")
    s.wait_for(rb"runs")
    s.type(b"\x03")
    check("Ctrl-C is the command's", s.status() == 9 and b"interrupted" in s.text, s)

    s = Session("sh", "-c", "trap '' INT QUIT TSTP; echo runs; while :; do sleep 0.1; done")
    s.wait_for(rb"runs")
    s.type(b"\x03\x03\x1d\x1d\x1d")
    check("Ctrl-] three times ends it", s.status() == 137, s)

    s = Session("sh", "-c", "echo runs; cat >&2", redirect="/dev/null")
    s.type(b"one\r")
    check("an output that is no terminal: lines are the user's", s.wait_for(rb"one\r\none\r\n"), s)
    s.type(b"\x04")
    check("and their end is the end of input", s.status() == 0, s)

    master, slave = pty.openpty()
    before = termios.tcgetattr(slave)
    pid = os.fork()
    if pid == 0:
        os.setsid()
        fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
        for fd in range(3):
            os.dup2(slave, fd)
        os.execv(sys.argv[1], [sys.argv[1], "true"])
    os.waitpid(pid, 0)
    same = termios.tcgetattr(slave) == before
    print("ok" if same else "not ok", "the terminal is afterwards as it was")
    os.close(master)
    print("end")


main()
