// BullMQ (ioredis), with its keys under `queue:`.
import { FlowProducer, Queue, QueueEvents, Worker } from "bullmq";
import { place } from "./place.mjs";

const connection = { host: place.host, port: place.port, username: place.user, password: place.password, tls: { ca: place.ca, servername: "localhost" }, maxRetriesPerRequest: null };
const options = { connection, prefix: "queue" };
const queue = new Queue("mail", options);
const events = new QueueEvents("mail", options);
const worker = new Worker("mail", async (job) => {
  await job.updateProgress(50); await job.log("half"); await job.updateData({ ...job.data, seen: true });
  if (job.name === "fails") throw new Error("no");
  return { done: true };
}, { ...options, concurrency: 2, limiter: { max: 100, duration: 1000 }, removeOnComplete: { count: 5 } });
await worker.waitUntilReady(); await events.waitUntilReady();
const job = await queue.add("plain", { to: "ada@example.com" });
await job.waitUntilFinished(events, 5000);
await queue.add("later", {}, { delay: 200 }); await queue.add("first", {}, { priority: 2 }); await queue.add("once", {}, { jobId: "one", removeOnComplete: true });
const bad = await queue.add("fails", {}, { attempts: 2, backoff: { type: "fixed", delay: 50 } });
await queue.addBulk([{ name: "a", data: {} }, { name: "b", data: {} }]);
await queue.upsertJobScheduler("every", { every: 60000 }, { name: "tick" }); await queue.getJobSchedulers(); await queue.removeJobScheduler("every");
await new FlowProducer(options).add({ name: "parent", queueName: "mail", children: [{ name: "child", queueName: "mail", data: {} }] });
await new Promise((done) => { setTimeout(done, 1500); });
await bad.retry().catch(() => {});
await queue.getJobCounts(); await queue.getJobs(["completed", "failed"], 0, 5); await queue.getJob(job.id); await job.getState(); await queue.getJobLogs(job.id); await queue.getMetrics("completed").catch(() => {}); await queue.getWorkers().catch(() => {});
await queue.pause(); await queue.add("held", {}); await queue.isPaused(); await queue.resume();
const removed = await queue.add("gone", {}, { delay: 60000 }); await removed.changeDelay(1000).catch(() => {}); await removed.promote().catch(() => {}); await removed.remove().catch(() => {});
await new Promise((done) => { setTimeout(done, 500); });
await queue.clean(0, 10, "completed"); await queue.drain(); await worker.close(); await events.close(); await queue.obliterate({ force: true }); await queue.close();
process.exit(0);
