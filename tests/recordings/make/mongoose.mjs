// Mongoose; prints each command that it sends, as Extended JSON, on lines that begin with `@@`.
import mongoose from "mongoose";
import { place } from "./place.mjs";

const { EJSON } = mongoose.mongo.BSON;
const { Schema } = mongoose;
const connection = mongoose.createConnection(`mongodb://${place.host}:${place.port}/enterprise_db`, {
  user: place.user, pass: place.password, authSource: "admin", tls: true, tlsCAFile: process.env.RECORD_CA, directConnection: true, monitorCommands: true, autoIndex: false, autoCreate: false,
});
connection.on("connected", () => {});
await connection.asPromise();
connection.getClient().on("commandStarted", (e) => {
  const command = { ...e.command };
  if (!("$db" in command)) command.$db = e.databaseName;
  console.log("@@" + EJSON.stringify(command, { relaxed: false }));
});
const eventSchema = new Schema({ stream: String, version: Number, type: { type: String, index: true }, data: Schema.Types.Mixed }, { collection: "event_store", timestamps: true, optimisticConcurrency: true });
const Event = connection.model("Event", eventSchema);
const Log = connection.model("Log", new Schema({
  user_id: Number, action: { type: String, required: true }, at: { type: Date, default: Date.now }, tags: [String], meta: Map,
  event: { type: Schema.Types.ObjectId, ref: "Event" }, notes: [{ text: String, n: Number }], price: Schema.Types.Decimal128, blob: Buffer, big: BigInt,
}, { collection: "activity_logs", timestamps: true }));
Log.schema.virtual("sisters", { ref: "Log", localField: "user_id", foreignField: "user_id" });

const event = await Event.create({ stream: "s", version: 1, type: "made", data: { a: 1 } });
const log = await Log.create({ user_id: 1, action: "login", tags: ["a"], meta: { ip: "::1" }, event: event._id, notes: [{ text: "x", n: 1 }], price: "1.50", blob: Buffer.from([0, 255]), big: 9007199254740993n });
await Log.insertMany([1, 2, 3].map((n) => ({ user_id: n, action: "view" })));
await Log.findById(log._id); await Log.findOne({ user_id: 1 }).select("action -_id").lean(); await Log.exists({ user_id: 1 });
await Log.find({ user_id: { $in: [1, 2] }, at: { $lte: new Date() } }).sort("-at").skip(1).limit(2).populate("event", "type");
await Log.find({ action: /^lo/i }).where("user_id").gte(1).lte(9).or([{ tags: "a" }, { tags: { $size: 0 } }]).populate({ path: "sisters", match: { action: "view" }, options: { limit: 2 } });
log.tags.push("b"); log.notes[0].n = 2; log.meta.set("k", "v"); await log.save();
log.notes.pull(log.notes[0]._id); await log.save(); log.tags.addToSet("c"); await log.save(); log.set("action", undefined); log.action = "x"; await log.save();
event.data = { b: 2 }; event.markModified("data"); await event.save();
await Log.updateOne({ user_id: 1 }, { $inc: { user_id: 0 }, action: "set" }); await Log.updateMany({ user_id: 1 }, { $push: { tags: { $each: ["x"], $position: 0 } } }, { upsert: true });
await Log.findOneAndUpdate({ user_id: 5 }, { action: "up" }, { upsert: true, new: true, setDefaultsOnInsert: true }); await Log.findByIdAndUpdate(log._id, { $unset: { meta: 1 } }); await Log.findOneAndDelete({ user_id: 5 }); await Log.findOneAndReplace({ user_id: 3 }, { action: "r", user_id: 3 });
await Log.replaceOne({ user_id: 3 }, { user_id: 3, action: "rr" }); await Log.deleteOne({ user_id: 3 }); await Log.deleteMany({ action: "none" }); await log.deleteOne();
await Log.countDocuments({ user_id: 2 }); await Log.estimatedDocumentCount(); await Log.distinct("action", { user_id: 2 });
await Log.bulkWrite([{ insertOne: { document: { user_id: 8, action: "b" } } }, { updateOne: { filter: { user_id: 8 }, update: { $set: { action: "c" } } } }, { deleteMany: { filter: { user_id: 8 } } }]);
await Log.bulkSave([new Log({ user_id: 6, action: "bs" })]);
await Log.aggregate([{ $match: { user_id: 2 } }, { $group: { _id: "$action", n: { $sum: 1 } } }]).sort("-n").limit(3);
await Log.aggregate().lookup({ from: "event_store", localField: "event", foreignField: "_id", as: "e" }).unwind("$e").project({ "e.type": 1 }).facet({ rows: [{ $limit: 1 }], total: [{ $count: "n" }] });
for await (const _ of Log.find().cursor({ batchSize: 1 })) { /* every row */ }
await connection.transaction(async (session) => { await Event.create([{ stream: "t", version: 1 }], { session }); await Event.findOne({ stream: "t" }).session(session); await Event.updateOne({ stream: "t" }, { version: 2 }, { session }); });
const session = await connection.startSession(); session.startTransaction(); await Event.deleteMany({ stream: "t" }, { session }); await session.abortTransaction(); await session.endSession();
const stream = Event.watch(); await new Promise((done) => { setTimeout(done, 300); }); await stream.close();
await Log.find({ user_id: 1 }).read("secondaryPreferred").readConcern("local").hint({ user_id: 1, at: -1 }).maxTimeMS(1000).collation({ locale: "en", strength: 1 }).comment("c");
await connection.close();
