// TypeORM (pg; mysql2).
import { Between, Brackets, DataSource, EntitySchema, ILike, In, IsNull, LessThan, Like, MoreThan, Not, Raw } from "typeorm";
import { dialect, place, tables as t } from "./place.mjs";

const isPostgres = dialect === "postgres";
const json = isPostgres ? "jsonb" : "json";
const time = isPostgres ? "timestamptz" : "datetime";
const id = { type: "bigint", primary: true, generated: true };
const owned = { type: "many-to-one", target: "Owner", joinColumn: { name: "owner_id" } };
const Owner = new EntitySchema({ name: "Owner", tableName: t.owner, columns: {
  id, email: { type: "varchar" }, name: { type: "varchar" }, status: { type: "varchar", default: "active" },
  balance: { type: "decimal", precision: 14, scale: 2, default: 0 }, settings: { type: json, nullable: true }, version: { type: "int", version: true },
  createdAt: { name: "created_at", type: time, createDate: true }, updatedAt: { name: "updated_at", type: time, updateDate: true }, deletedAt: { name: "deleted_at", type: time, deleteDate: true, nullable: true },
}, relations: {
  profile: { type: "one-to-one", target: "Profile", inverseSide: "owner", cascade: true },
  children: { type: "one-to-many", target: "Child", inverseSide: "owner", cascade: true },
  liked: { type: "many-to-many", target: "Child", joinTable: { name: t.link, joinColumn: { name: "owner_id" }, inverseJoinColumn: { name: "child_id" } } },
} });
const Profile = new EntitySchema({ name: "Profile", tableName: t.profile, columns: { id, bio: { type: "text", nullable: true }, bornOn: { name: "born_on", type: "date", nullable: true }, avatar: { type: isPostgres ? "bytea" : "blob", nullable: true } }, relations: { owner: { type: "one-to-one", target: "Owner", joinColumn: { name: "owner_id" } } } });
const Child = new EntitySchema({ name: "Child", tableName: t.child, columns: {
  id, title: { type: "varchar" }, body: { type: "text", nullable: true, select: false }, status: { type: "varchar", default: "draft" }, views: { type: "int", default: 0 }, tags: { type: json, nullable: true },
}, relations: { owner: { ...owned, inverseSide: "children", orphanedRowAction: "disable" }, replyTo: { type: "many-to-one", target: "Child", joinColumn: { name: "reply_to_id" }, nullable: true } } });
const Ledger = new EntitySchema({ name: "Ledger", tableName: t.ledger, columns: { id, amount: { type: "decimal" }, currency: { type: "char", length: 3 }, kind: { type: "varchar" } }, relations: { owner: owned } });

const db = new DataSource({ type: dialect, host: place.host, port: place.port, username: place.user, password: place.password, database: place.database, ssl: { ca: place.ca }, entities: [Owner, Profile, Child, Ledger], synchronize: false, ...(isPostgres ? { installExtensions: false } : {}) });
await db.initialize();
const owners = db.getRepository("Owner"), children = db.getRepository("Child"), entries = db.getRepository("Ledger");

const ada = await owners.save({ email: "ada@example.com", name: "it's \\ 100%", settings: { theme: "dark", n: [1] }, profile: { bio: "b", bornOn: "1815-12-10", avatar: Buffer.from([0, 255, 39, 92]) }, children: [{ title: "t0", tags: ["a"] }, { title: "t1" }] });
await owners.insert([1, 2].map((i) => ({ email: `u${i}@example.com`, name: "u" })));
await children.save({ title: "reply", owner: ada, replyTo: ada.children[0] });
await entries.save([1, 2, 3].map((i) => ({ amount: `${i}.50`, currency: "EUR", kind: "fee", owner: ada })), { chunk: 2 });
ada.name = "Ada L."; ada.liked = [ada.children[0]]; await owners.save(ada);
await owners.upsert({ email: "ada@example.com", name: "U" }, ["email"]);
await owners.createQueryBuilder().insert().values({ email: "ada@example.com", name: "x" }).orIgnore().execute();
await owners.createQueryBuilder().insert().values({ email: "ada@example.com", name: "x" }).orUpdate(["name"], ["email"]).execute();
await owners.findOneBy({ id: ada.id }); await owners.findOneByOrFail({ email: "ada@example.com" });
await owners.findOne({ where: { id: ada.id }, relations: { children: true, profile: true, liked: true } });
await owners.find({ where: [{ name: Like("A%") }, { email: ILike("%X%"), status: Not("x") }], order: { id: "DESC" }, skip: 5, take: 10 });
await owners.find({ relations: { children: { replyTo: true } }, skip: 0, take: 2, withDeleted: true });
await owners.find({ where: { id: In([1, 2]), version: Between(1, 9), deletedAt: IsNull(), balance: LessThan(99), children: { views: MoreThan(-1) } }, select: { id: true, name: true } });
await owners.find({ relations: { children: true }, relationLoadStrategy: "query" });
await owners.findAndCount({ take: 1 }); await owners.exists({ where: { email: "x" } }); await owners.countBy({ status: "active" });
await entries.sum("amount", { currency: "EUR" }); await entries.maximum("amount"); await entries.average("amount");
await owners.findBy({ name: Raw((alias) => `LOWER(${alias}) = :v`, { v: "a" }) });
await owners.createQueryBuilder("o").leftJoinAndSelect("o.children", "c", "c.status = :s", { s: "draft" }).where("o.name LIKE :n", { n: "A%" }).andWhere(new Brackets((q) => q.where("o.id > 0").orWhere("c.views > 1"))).orderBy("o.id").getMany();
await owners.createQueryBuilder("o").innerJoin("o.children", "c").select("o.status", "status").addSelect("COUNT(c.id)", "n").groupBy("o.status").having("COUNT(c.id) > :m", { m: 0 }).getRawMany();
await owners.createQueryBuilder("o").where((q) => "o.id IN " + q.subQuery().select("c.owner_id").from("Child", "c").where("c.views >= 0").getQuery()).getMany();
await owners.createQueryBuilder("o").take(2).skip(1).leftJoinAndSelect("o.liked", "l").getManyAndCount();
await db.createQueryBuilder().addCommonTableExpression("SELECT id, owner_id FROM " + t.child, "c").select("c.id").from("c", "c").getRawMany();
await children.increment({ status: "draft" }, "views", 1); await children.decrement({ id: 1 }, "views", 1); await children.update({ status: "draft" }, { title: "z" });
await children.createQueryBuilder().update().set({ views: () => "views + 1" }).where("id = :id", { id: 1 }).execute();
if (isPostgres) await children.createQueryBuilder().update().set({ title: "r" }).where("id = 1").returning(["id", "title"]).execute();
await children.delete({ title: "none" }); await children.createQueryBuilder().delete().where("views > 999").execute();
await owners.softDelete({ email: "u1@example.com" }); await owners.restore({ email: "u1@example.com" }); await owners.remove(await owners.findOneBy({ email: "u2@example.com" }));
await db.transaction(async (m) => {
  await m.findOne("Owner", { where: { id: ada.id }, lock: { mode: "pessimistic_write" } });
  await m.findOne("Owner", { where: { id: ada.id }, lock: { mode: "pessimistic_read" } }).catch(() => console.log("not here: share"));
  await m.createQueryBuilder("Owner", "o").setLock("pessimistic_write").setOnLocked("skip_locked").getMany();
  if (isPostgres) await m.findOne("Owner", { where: { id: ada.id }, lock: { mode: "for_no_key_update", onLocked: "nowait" } });
  await m.transaction(async (inner) => inner.save("Child", { title: "nested", owner: ada }));
});
await db.transaction("SERIALIZABLE", async (m) => { await m.count("Owner"); });
await db.transaction(async () => { throw new Error("back"); }).catch(() => {});
await db.query(`SELECT name FROM ${t.owner} WHERE id = ${isPostgres ? "$1" : "?"}`, [ada.id]);
await db.destroy();
