// connect-redis and cache-style use of node-redis, and rate-limiter-flexible (ioredis).
import { RedisStore } from "connect-redis";
import session from "express-session";
import { createClient } from "redis";
import { place } from "./place.mjs";

const client = createClient({ username: place.user, password: place.password, socket: { host: "localhost", port: place.port, tls: true, ca: place.ca } });
await client.connect();
const store = new RedisStore({ client, prefix: "session:" });
const call = (name, ...args) => new Promise((done, fail) => { store[name](...args, (error, value) => error ? fail(error) : done(value)); });
const data = { cookie: new session.Cookie({ maxAge: 60000 }), user: 1 };
await call("set", "a", data); await call("get", "a"); await call("touch", "a", data); await call("all"); await call("ids"); await call("length"); await call("destroy", "a"); await call("clear");
await client.set("cache:k", "v", { EX: 60, NX: true }); await client.get("cache:k"); await client.mGet(["cache:k", "cache:l"]); await client.mSet({ "cache:k": "1", "cache:l": "2" });
await client.incr("cache:n"); await client.incrBy("cache:n", 5); await client.expire("cache:n", 60); await client.ttl("cache:n"); await client.exists("cache:n"); await client.getDel("cache:l"); await client.del(["cache:k", "cache:n"]);
await client.hSet("cache:h", { a: "1", b: "2" }); await client.hGetAll("cache:h"); await client.hIncrBy("cache:h", "a", 1); await client.hDel("cache:h", "b"); await client.hmGet("cache:h", ["a"]);
await client.sAdd("cache:s", ["a", "b"]); await client.sMembers("cache:s"); await client.sIsMember("cache:s", "a"); await client.sRem("cache:s", "a");
await client.zAdd("cache:z", [{ score: 1, value: "a" }, { score: 2, value: "b" }]); await client.zRangeWithScores("cache:z", 0, -1); await client.zRemRangeByScore("cache:z", 0, 1); await client.zCard("cache:z"); await client.zIncrBy("cache:z", 1, "b"); await client.zRange("cache:z", 0, 10, { BY: "SCORE" });
await client.lPush("queue:l", ["a", "b"]); await client.rPop("queue:l"); await client.lRange("queue:l", 0, -1); await client.lLen("queue:l"); await client.lTrim("queue:l", 0, 99); await client.brPop("queue:l", 1);
await client.xAdd("queue:x", "*", { a: "1" }, { TRIM: { strategy: "MAXLEN", strategyModifier: "~", threshold: 100 } }); await client.xGroupCreate("queue:x", "g", "0", { MKSTREAM: true }); const read = await client.xReadGroup("g", "c", { key: "queue:x", id: ">" }, { COUNT: 1, BLOCK: 10 }); await client.xAck("queue:x", "g", read[0].messages[0].id); await client.xRead({ key: "queue:x", id: "0" }); await client.xLen("queue:x"); await client.xPending("queue:x", "g"); await client.xAutoClaim("queue:x", "g", "c", 0, "0");
for await (const _ of client.scanIterator({ MATCH: "cache:*", COUNT: 50 })) { /* every key */ }
await client.multi().set("cache:m", "1").incr("cache:m").exec(); await client.watch("cache:m"); await client.unwatch();
await client.eval("return redis.call('GET', KEYS[1])", { keys: ["cache:m"], arguments: [] });
await client.setEx("cache:e", 5, "v"); await client.pSetEx("cache:e", 500, "v"); await client.setRange("cache:e", 1, "x"); await client.getRange("cache:e", 0, 1); await client.append("cache:e", "y"); await client.strLen("cache:e"); await client.type("cache:e"); await client.unlink("cache:e"); await client.pfAdd("cache:p", "a"); await client.pfCount("cache:p"); await client.setBit("cache:b", 1, 1); await client.bitCount("cache:b"); await client.geoAdd("cache:g", { longitude: 1, latitude: 2, member: "a" }); await client.geoSearch("cache:g", "a", { radius: 9, unit: "km" });
await client.publish("cache:events", "x"); await client.ping(); await client.dbSize(); await client.info("server");
await client.quit();

const { default: Redis } = await import("ioredis");
const { RateLimiterRedis } = await import("rate-limiter-flexible");
const redis = new Redis({ host: place.host, port: place.port, username: place.user, password: place.password, tls: { ca: place.ca, servername: "localhost" } });
const limiter = new RateLimiterRedis({ storeClient: redis, keyPrefix: "ratelimit", points: 2, duration: 1 });
for (let i = 0; i < 3; i += 1) await limiter.consume("ada").catch(() => {});
await limiter.get("ada"); await limiter.penalty("ada", 1); await limiter.reward("ada", 1); await limiter.block("ada", 1); await limiter.delete("ada");
await redis.quit();
