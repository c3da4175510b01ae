"""PyMongo; prints each command that it sends, as Extended JSON, on lines that begin with `@@`."""

import datetime as dt
import sys

import pymongo
from bson import Decimal128, Int64, ObjectId, json_util
from pymongo import DeleteMany, InsertOne, ReplaceOne, UpdateMany, UpdateOne, monitoring
from pymongo.collation import Collation
from pymongo.read_concern import ReadConcern
from pymongo.write_concern import WriteConcern

from place import place

OPTIONS = json_util.JSONOptions(json_mode=json_util.JSONMode.CANONICAL)


class Print(monitoring.CommandListener):
    def started(self, event):
        sys.stdout.write("@@" + json_util.dumps(event.command, json_options=OPTIONS) + "\n")

    def succeeded(self, event):
        pass

    def failed(self, event):
        print("failed", event.command_name, event.failure.get("errmsg", "")[:150])


client = pymongo.MongoClient(
    place.host, place.port, username=place.user, password=place.password, authSource="admin", tls=True, tlsCAFile=place.ca,
    directConnection=True, event_listeners=[Print()],
)
db = client["enterprise_db"]
logs, events, store = db["activity_logs"], db["analytics_events"], db["event_store"]
now = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)

logs.insert_one({"user_id": 1, "action": "login", "at": now, "ip": "::1", "meta": {"tags": ["a", "b"], "n": Int64(5)}})
logs.insert_many([{"user_id": i, "action": "view", "at": now, "cost": Decimal128("1.50")} for i in range(5)], ordered=False)
logs.find_one({"_id": ObjectId()}), logs.find_one({"user_id": 1}, {"action": 1, "_id": 0}, sort=[("at", -1)])
list(logs.find({"user_id": {"$in": [1, 2]}, "at": {"$gte": now, "$lt": now}, "$or": [{"action": "login"}, {"meta.tags": {"$all": ["a"]}}]}).sort("at", -1).skip(5).limit(10))
list(logs.find({"action": {"$regex": "^lo", "$options": "i"}, "meta.n": {"$exists": True, "$type": "long"}, "meta.tags": {"$elemMatch": {"$eq": "a"}, "$size": 2}, "ip": {"$not": {"$eq": "x"}, "$ne": None}}))
list(logs.find({}, batch_size=2)), list(logs.find({"user_id": 1}).hint([("user_id", 1), ("at", -1)]).max_time_ms(1000).collation(Collation("en", strength=2)).comment("page"))
list(logs.find({"$expr": {"$gt": ["$meta.n", 3]}}, {"meta": {"$slice": 1}, "user_id": 1}))
logs.count_documents({"user_id": 1}), logs.estimated_document_count(), logs.distinct("action", {"user_id": {"$gt": 0}})
logs.update_one({"user_id": 1}, {"$set": {"seen": True, "meta.x": 1}, "$inc": {"n": 1}, "$push": {"h": {"$each": [1, 2], "$slice": -5, "$sort": 1}}, "$currentDate": {"at": True}, "$unset": {"old": ""}})
logs.update_many({"action": "view"}, {"$addToSet": {"t": {"$each": ["x", "y"]}}, "$pull": {"h": {"$gt": 9}}, "$min": {"lo": 1}, "$max": {"hi": 9}, "$mul": {"k": 2}, "$rename": {"a": "b"}})
logs.update_one({"user_id": 77}, {"$setOnInsert": {"action": "new"}, "$set": {"a": 1}}, upsert=True)
logs.update_one({"user_id": 1}, [{"$set": {"total": {"$add": ["$n", 1]}}}, {"$unset": "tmp"}])
logs.update_one({"user_id": 1}, {"$set": {"h.$[e].x": 1}}, array_filters=[{"e.x": {"$gt": 1}}])
logs.replace_one({"user_id": 2}, {"user_id": 2, "action": "replaced"}, upsert=True)
logs.find_one_and_update({"user_id": 1}, {"$inc": {"n": 1}}, return_document=pymongo.ReturnDocument.AFTER, upsert=True, projection={"n": 1}, sort=[("at", 1)])
logs.find_one_and_replace({"user_id": 3}, {"user_id": 3}), logs.find_one_and_delete({"user_id": 4})
logs.delete_one({"user_id": 77}), logs.delete_many({"action": "none"})
logs.bulk_write([InsertOne({"user_id": 9}), UpdateOne({"user_id": 9}, {"$set": {"a": 1}}), UpdateMany({}, {"$set": {"b": 1}}), ReplaceOne({"user_id": 9}, {"user_id": 9}), DeleteMany({"user_id": 9})], ordered=False)
P = logs.aggregate
list(P([{"$match": {"user_id": 1}}, {"$group": {"_id": "$action", "n": {"$sum": 1}, "avg": {"$avg": "$n"}, "first": {"$first": "$at"}, "all": {"$push": "$$ROOT"}, "set": {"$addToSet": "$ip"}}}, {"$sort": {"n": -1}}, {"$limit": 5}]))
list(P([{"$lookup": {"from": "analytics_events", "localField": "user_id", "foreignField": "user_id", "as": "e"}}, {"$unwind": {"path": "$e", "preserveNullAndEmptyArrays": True}}, {"$project": {"action": 1, "e.name": 1, "day": {"$dateToString": {"format": "%Y-%m-%d", "date": "$at"}}}}]))
list(P([{"$lookup": {"from": "event_store", "let": {"u": "$user_id"}, "pipeline": [{"$match": {"$expr": {"$eq": ["$stream", "$$u"]}}}, {"$limit": 1}], "as": "s"}}, {"$addFields": {"n": {"$size": "$s"}, "c": {"$cond": [{"$gt": ["$n", 1]}, "many", "few"]}}}]))
list(P([{"$facet": {"rows": [{"$sort": {"at": -1}}, {"$skip": 0}, {"$limit": 2}], "total": [{"$count": "n"}], "hist": [{"$bucket": {"groupBy": "$user_id", "boundaries": [0, 2, 9], "default": "other"}}]}}], allowDiskUse=True))
list(P([{"$unionWith": {"coll": "event_store", "pipeline": [{"$match": {"version": 1}}]}}, {"$replaceRoot": {"newRoot": {"$mergeObjects": ["$$ROOT", {"x": 1}]}}}, {"$sortByCount": "$type"}]))
list(P([{"$setWindowFields": {"partitionBy": "$user_id", "sortBy": {"at": 1}, "output": {"run": {"$sum": "$n", "window": {"documents": ["unbounded", "current"]}}}}}, {"$sample": {"size": 2}}]))
list(P([{"$graphLookup": {"from": "activity_logs", "startWith": "$user_id", "connectFromField": "parent", "connectToField": "user_id", "as": "tree", "maxDepth": 3}}, {"$redact": "$$KEEP"}, {"$unset": ["tree"]}]))
list(P([{"$match": {"at": {"$type": "date"}}}, {"$group": {"_id": {"$dateTrunc": {"date": "$at", "unit": "day"}}, "n": {"$sum": "$n"}}}, {"$merge": {"into": "analytics_events", "on": "_id", "whenMatched": "replace", "whenNotMatched": "insert"}}]))
list(P([{"$match": {"user_id": 1}}, {"$out": "analytics_events"}]))
events.insert_one({"name": "page_view", "at": now})
events.with_options(write_concern=WriteConcern(w="majority", wtimeout=1000), read_concern=ReadConcern("majority")).update_one({"name": "page_view"}, {"$inc": {"count": 1}})
list(events.with_options(read_concern=ReadConcern("majority")).find({"name": "x"}))
with client.start_session(causal_consistency=True) as session:
    store.insert_one({"stream": "a", "version": 1}, session=session)
    list(store.find({"stream": "a"}, session=session))
with client.start_session() as session, session.start_transaction(read_concern=ReadConcern("snapshot"), write_concern=WriteConcern("majority")):
    store.insert_one({"stream": "b", "version": 1}, session=session)
    store.update_one({"stream": "b", "version": 1}, {"$set": {"x": 1}}, session=session)
with client.start_session() as session:
    session.start_transaction()
    store.delete_many({"stream": "b"}, session=session)
    session.abort_transaction()
with store.watch([{"$match": {"operationType": "insert"}}], full_document="updateLookup", max_await_time_ms=10) as stream:
    stream.try_next()
cursor = logs.find({}, batch_size=1)
next(cursor)
cursor.close()
list(logs.list_indexes()), db.list_collection_names(), client.admin.command("ping"), db.command("collStats", "activity_logs")
logs.find({"user_id": 1}).explain()
