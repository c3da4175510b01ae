"""Runs every library against private servers and writes what the servers saw to `../<library>.jsonl`.

    record.py READY_FILE NODE_FOLDER [LIBRARY…]

READY_FILE is that of `bulkhead dev --stores-only`, NODE_FOLDER holds `node_modules`; the packages for Python
are those of the interpreter that runs this file.
"""

import json
import os
import pathlib
import re
import shutil
import socket
import ssl
import subprocess
import sys
import threading
import time
import urllib.parse

import psycopg
import pymysql

import schema

HERE = pathlib.Path(__file__).parent
LIBRARIES = {
    "sqlalchemy": ("sqlalchemy_orm.py", ["postgres", "mysql"]),
    "django": ("django_orm.py", ["postgres", "mysql"]),
    "peewee": ("peewee_orm.py", ["postgres", "mysql"]),
    "sequelize": ("sequelize.mjs", ["postgres", "mysql"]),
    "knex": ("knex.mjs", ["postgres", "mysql"]),
    "drizzle": ("drizzle.mjs", ["postgres", "mysql"]),
    "typeorm": ("typeorm.mjs", ["postgres", "mysql"]),
    "prisma": ("prisma.mjs", ["postgres", "mysql"]),
    "pymongo": ("pymongo_driver.py", ["mongodb"]),
    "mongoose": ("mongoose.mjs", ["mongodb"]),
    "bullmq": ("bullmq.mjs", ["redis"]),
    "connect-redis": ("connect_redis.mjs", ["redis"]),
    "celery": ("celery_kombu.py", ["redis"]),
    "rq": ("rq_jobs.py", ["redis"]),
    "django-redis": ("django_redis_cache.py", ["redis"]),
}
DATABASES = {"postgres": "recording", "mysql": "enterprise_app_db", "mongodb": "", "redis": ""}
# What makes sense on a connection of one's own only.
SESSION = re.compile(
    r"(BEGIN|START|COMMIT|ROLLBACK|SAVEPOINT|RELEASE|SET|SHOW|DECLARE|FETCH|CLOSE|DEALLOCATE|RESET|ABORT|END)\b", re.I
)
MARK = "@@recorded@@"


class Server:
    def __init__(self, store, ready):
        url = urllib.parse.urlsplit(ready["stores"][store])
        self.store, self.ca, self.port = store, ready["ca"], url.port
        self.user, self.password = url.username, url.password
        self.log = pathlib.Path(ready["config"]).parent / "logs" / f"{store}.log"

    def environment(self):
        names = {"dialect": self.store, "port": str(self.port), "user": self.user, "password": self.password,
                 "database": DATABASES[self.store], "ca": self.ca}
        return os.environ | {f"RECORD_{name.upper()}": value for name, value in names.items()} | {"NODE_EXTRA_CA_CERTS": self.ca}

    def postgres(self, database):
        return psycopg.connect(host="127.0.0.1", port=self.port, user=self.user, password=self.password, dbname=database,
                               sslmode="verify-full", sslrootcert=self.ca, autocommit=True)

    def mysql(self):
        return pymysql.connect(host="127.0.0.1", port=self.port, user=self.user, password=self.password, ssl={"ca": self.ca}, autocommit=True)


def record_postgres(server, run):
    with server.postgres("postgres") as admin:
        admin.execute("DROP DATABASE IF EXISTS recording WITH (FORCE)")
        admin.execute("CREATE DATABASE recording")
        with server.postgres("recording") as made:
            for statement in schema.statements("postgres"):
                made.execute(statement)
        for setting in ["log_statement = 'all'", f"log_line_prefix = '{MARK}%d@@'"]:
            admin.execute("ALTER SYSTEM SET " + setting)
        admin.execute("SELECT pg_reload_conf()")
        time.sleep(0.5)
        start = server.log.stat().st_size
        run()
        admin.execute("ALTER SYSTEM RESET log_statement")
        admin.execute("ALTER SYSTEM RESET log_line_prefix")
        admin.execute("SELECT pg_reload_conf()")
    time.sleep(0.3)
    text = server.log.read_bytes()[start:].decode()
    for entry in text.split(MARK):
        found = re.match(r"recording@@LOG:  (?:statement|execute (?:fetch from )?[^:]*): (.*)\n\Z", entry, re.S)
        if found:
            # The server's log indents the statement's further lines by one tab.
            yield found[1].replace("\n\t", "\n")


def record_mysql(server, run):
    with server.mysql() as admin, admin.cursor() as cursor:
        cursor.execute("DROP DATABASE IF EXISTS enterprise_app_db")
        cursor.execute("CREATE DATABASE enterprise_app_db CHARACTER SET utf8mb4")
        cursor.execute("USE enterprise_app_db")
        for statement in schema.statements("mysql"):
            cursor.execute(statement)
        cursor.execute("SET GLOBAL log_output = 'TABLE'")
        cursor.execute("TRUNCATE mysql.general_log")
        cursor.execute("SET GLOBAL general_log = ON")
        run()
        cursor.execute("SET GLOBAL general_log = OFF")
        cursor.execute(
            "SELECT argument FROM mysql.general_log WHERE command_type IN ('Query', 'Prepare') AND thread_id <> CONNECTION_ID()"
        )
        return [row[0].decode() if isinstance(row[0], bytes) else row[0] for row in cursor.fetchall()]


def record_redis(server, run):
    context = ssl.create_default_context(cafile=server.ca)
    link = context.wrap_socket(socket.create_connection(("127.0.0.1", server.port)), server_hostname="localhost")
    link.sendall(f"AUTH {server.user} {server.password}\r\nFLUSHALL\r\nSCRIPT FLUSH\r\nMONITOR\r\n".encode())
    lines = []

    def read():
        with link.makefile("rb") as file:
            lines.extend(file)

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    run()
    time.sleep(0.5)
    link.shutdown(socket.SHUT_RDWR)
    reader.join(5)
    for line in lines:
        found = re.match(rb"\+[0-9.]+ \[\d+ (?!lua)[^\]]*\] (.*)\r\n\Z", line, re.S)
        if found:
            words = re.findall(rb'"((?:[^"\\]|\\.)*)"', found[1])
            yield [unescape(word) for word in words]


def unescape(word):
    letters = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"a": b"\a", b"b": b"\b"}

    def one(found):
        if found[1].startswith(b"x"):
            return bytes([int(found[1][1:], 16)])
        return letters.get(found[1], found[1])

    return re.sub(rb"\\(x[0-9a-f]{2}|.)", one, word, flags=re.S)


def sql_lines(statements):
    for text in statements:
        # A literal's value does not make another statement.
        shape = re.sub(r"'(?:[^'\\]|''|\\.)*'|\b\d+(?:\.\d+)?\b", "?", text)
        line = {"request": text}
        if SESSION.match(text.lstrip()):
            line["session"] = True
        yield shape, line


def mongodb_lines(output):
    for text in output.splitlines():
        if not text.startswith("@@"):
            continue
        command = json.loads(text[2:])
        if not command:
            # The driver keeps what authenticates to itself.
            continue
        if "lsid" in command:
            command["lsid"] = {"id": {"$binary": {"base64": "AAAAAAAAAAAAAAAAAAAAAA==", "subType": "04"}}}
        command.pop("$clusterTime", None)
        line = {"request": command}
        if "txnNumber" in command or next(iter(command)) in ("endSessions", "hello", "ping"):
            line["session"] = True
        shape = re.sub(r'"(?:[0-9a-f]{24}|-?[0-9.]+|[A-Za-z0-9+/=]{16,})"', "?", json.dumps(command))
        yield shape, line


def redis_lines(commands, server):
    for words in commands:
        if words[0].upper() == b"AUTH" or words == [b"MONITOR"]:
            continue
        arguments, shape = [], []
        for number, word in enumerate(words):
            word = word.replace(server.password.encode(), b"secret").replace(socket.gethostname().encode(), b"worker")
            try:
                arguments.append(word.decode())
            except UnicodeDecodeError:
                import base64

                arguments.append({"$base64": base64.b64encode(word).decode()})
            long = number > 1 and len(word) > 60
            shape.append("long" if long else re.sub(rb"[0-9a-f-]{8,}|\d+", b"#", word, flags=re.I).decode(errors="replace"))
        line = {"request": arguments}
        if words[0].upper() in (b"MULTI", b"EXEC", b"DISCARD", b"WATCH", b"UNWATCH", b"SUBSCRIBE", b"PSUBSCRIBE", b"UNSUBSCRIBE",
                                b"PUNSUBSCRIBE", b"HELLO", b"INFO", b"CLIENT", b"SELECT", b"QUIT", b"RESET", b"BLPOP", b"BRPOP", b"BZPOPMIN", b"XREAD", b"XREADGROUP", b"BLMOVE", b"BRPOPLPUSH"):
            line["session"] = True
        yield "\0".join(shape), line


def main():
    ready = json.loads(pathlib.Path(sys.argv[1]).read_text())
    node = pathlib.Path(sys.argv[2])
    for script in HERE.glob("*.mjs"):
        shutil.copy(script, node)
    for library in sys.argv[3:] or LIBRARIES:
        script, stores = LIBRARIES[library]
        lines = []
        for store in stores:
            server = Server(store, ready)
            output = []

            def run():
                command = [sys.executable, str(HERE / script)] if script.endswith(".py") else ["node", script]
                done = subprocess.run(command, env=server.environment(), cwd=node, capture_output=True, text=True, timeout=60)
                output.append(done.stdout)
                said = "\n".join(line for line in done.stdout.splitlines() if not line.startswith("@@"))
                print(f"== {library} on {store}: exit {done.returncode}\n{said[-1500:]}\n{done.stderr[-3000:]}")

            match store:
                case "postgres":
                    found = sql_lines(list(record_postgres(server, run)))
                case "mysql":
                    found = sql_lines(record_mysql(server, run))
                case "redis":
                    found = redis_lines(list(record_redis(server, run)), server)
                case _:
                    run()
                    found = mongodb_lines(output[0])
            distinct = {}
            for shape, line in found:
                distinct.setdefault(shape, {"store": store} | line)
            print(f"   {len(distinct)} distinct")
            lines += distinct.values()
        with open(HERE.parent / f"{library}.jsonl", "w") as file:
            for line in lines:
                file.write(json.dumps(line, ensure_ascii=False) + "\n")


main()
