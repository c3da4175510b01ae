"""Celery with kombu's Redis transport and result backend; every key under `queue:`."""

import atexit
import ssl
import subprocess
import sys
import time

from celery import Celery, chord, group

from place import place

url = f"rediss://{place.user}:{place.password}@localhost:{place.port}/0"
tls = {"ssl_cert_reqs": ssl.CERT_REQUIRED, "ssl_ca_certs": place.ca}
app = Celery("app", broker=url, backend=url)
app.conf.update(
    broker_use_ssl=tls, redis_backend_use_ssl=tls, broker_transport_options={"global_keyprefix": "queue:", "visibility_timeout": 2},
    result_backend_transport_options={"global_keyprefix": "queue:"}, worker_hijack_root_logger=False, task_acks_late=True,
    broker_connection_retry_on_startup=True,
)


@app.task
def add(x, y):
    return x + y


@app.task(bind=True, max_retries=1)
def retry(self):
    raise self.retry(countdown=0)


@app.task
def total(values):
    return sum(values)


if sys.argv[1:] == ["worker"]:
    app.worker_main(["worker", "--pool=solo", "--loglevel=ERROR", "--without-heartbeat"])
    sys.exit()

worker = subprocess.Popen([sys.executable, __file__, "worker"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
atexit.register(worker.kill)
time.sleep(4)
add.delay(1, 2).get(timeout=10)
add.apply_async((1, 2), countdown=0.2).get(timeout=10)
add.apply_async((1, 2), priority=5).forget()
retry.delay()
group(add.s(i, i) for i in range(3))().get(timeout=10)
chord([add.s(i, i) for i in range(2)])(total.s()).get(timeout=10)
app.control.ping(timeout=0.5), app.control.inspect(timeout=0.5).active()
late = add.apply_async((1, 2), countdown=60)
late.revoke()
app.control.purge()
time.sleep(2)
worker.terminate()
worker.wait(20)
