"""RQ (redis-py). Its keys are `rq:…`, which cannot be changed."""

import time

import redis
from rq import Queue, Retry, SimpleWorker
from rq.job import Job
from rq.registry import FailedJobRegistry, FinishedJobRegistry

from place import place

db = redis.Redis(host="localhost", port=place.port, username=place.user, password=place.password, ssl=True, ssl_ca_certs=place.ca)
queue = Queue("mail", connection=db)
job = queue.enqueue(time.sleep, 0)
queue.enqueue("builtins.int", "x", retry=Retry(max=1))
queue.enqueue("builtins.len", "after", depends_on=job)
queue.enqueue_in(__import__("datetime").timedelta(seconds=60), "builtins.len", "later")
queue.enqueue_many([Queue.prepare_data(time.sleep, (0,)), Queue.prepare_data(time.sleep, (0,))])
SimpleWorker([queue], connection=db).work(burst=True, with_scheduler=False, logging_level="ERROR")
job.refresh(), job.get_status(), job.return_value(), job.latest_result()
FinishedJobRegistry(queue=queue).get_job_ids(), FailedJobRegistry(queue=queue).count
Job.fetch_many([job.id], connection=db), queue.job_ids, queue.count, Queue.all(connection=db)
for failed in FailedJobRegistry(queue=queue).get_job_ids():
    FailedJobRegistry(queue=queue).requeue(failed)
job.meta["x"] = 1
job.save_meta(), job.cancel() if job.get_status() == "queued" else None, job.delete()
queue.empty(), queue.delete()
