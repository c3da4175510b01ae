// Sequelize 6 (pg; mysql2).
import { DataTypes, Op, Sequelize, Transaction, col, fn, literal, where } from "sequelize";
import { dialect, place, tables } from "./place.mjs";

const db = new Sequelize(place.database, place.user, place.password, {
  host: place.host, port: place.port, dialect, logging: false,
  dialectOptions: { ssl: { ca: place.ca } },
  define: { underscored: true, timestamps: false },
});
const Json = dialect === "postgres" ? DataTypes.JSONB : DataTypes.JSON;
const id = { type: DataTypes.BIGINT, primaryKey: true, autoIncrement: true };
const Owner = db.define("Owner", {
  id, email: { type: DataTypes.STRING, unique: true }, name: DataTypes.STRING, status: { type: DataTypes.STRING, defaultValue: "active" },
  balance: { type: DataTypes.DECIMAL(14, 2), defaultValue: 0 }, settings: Json,
}, { tableName: tables.owner, timestamps: true, paranoid: true, version: true });
const Profile = db.define("Profile", { id, bio: DataTypes.TEXT, bornOn: DataTypes.DATEONLY, avatar: DataTypes.BLOB }, { tableName: tables.profile });
const Child = db.define("Child", {
  id, title: DataTypes.STRING, body: DataTypes.TEXT, status: { type: DataTypes.STRING, defaultValue: "draft" },
  views: { type: DataTypes.INTEGER, defaultValue: 0 }, tags: Json, createdAt: DataTypes.DATE,
}, { tableName: tables.child });
const Ledger = db.define("Ledger", { id, amount: DataTypes.DECIMAL(14, 2), currency: DataTypes.STRING, kind: DataTypes.STRING, meta: Json }, { tableName: tables.ledger });
const Link = db.define("Link", { id, label: DataTypes.STRING }, { tableName: tables.link });
Owner.hasOne(Profile, { as: "profile", foreignKey: "ownerId" });
Profile.belongsTo(Owner, { as: "owner", foreignKey: "ownerId" });
Owner.hasMany(Child, { as: "children", foreignKey: "ownerId" });
Child.belongsTo(Owner, { as: "owner", foreignKey: "ownerId" });
Child.hasMany(Child, { as: "replies", foreignKey: "replyToId" });
Owner.hasMany(Ledger, { as: "entries", foreignKey: "ownerId" });
Owner.belongsToMany(Child, { as: "liked", through: Link, foreignKey: "ownerId", otherKey: "childId" });

async function crud() {
  await db.authenticate();
  const ada = await Owner.create({ email: "ada@example.com", name: "Ada", settings: { theme: "dark", n: { a: [1] } } });
  await Owner.bulkCreate([0, 1, 2].map((i) => ({ email: `u${i}@example.com`, name: "it's \\ 100%", version: 0 })));
  await ada.createProfile({ bio: "b'\"\\", bornOn: "1815-12-10", avatar: Buffer.from([0, 255, 39, 92]) });
  const child = await ada.createChild({ title: "first", tags: ["a"], createdAt: new Date() });
  await child.createReply({ title: "reply", ownerId: ada.id });
  await Ledger.bulkCreate([1, 2, 3].map((i) => ({ amount: `${i}.50`, currency: "EUR", kind: "fee", ownerId: ada.id, meta: { ip: "::1" } })));
  await ada.addLiked(child);
  await ada.getChildren({ where: { status: "draft" } });
  await ada.getLiked(); await ada.getProfile(); await ada.countChildren(); await ada.hasLiked(child); await ada.setLiked([]);
  await Owner.findByPk(ada.id);
  ada.name = "Ada L."; await ada.save(); await ada.reload(); await ada.update({ status: "hot" });
  await Owner.findOrCreate({ where: { email: "ada@example.com" }, defaults: { name: "x" } });
  await Owner.findOrCreate({ where: { email: "new@example.com" }, defaults: { name: "new", version: 0 } });
  await Owner.upsert({ email: "ada@example.com", name: "Ada U.", version: 0 });
  await Owner.bulkCreate([{ email: "ada@example.com", name: "z", version: 0 }], { updateOnDuplicate: ["name"] });
  await Owner.bulkCreate([{ email: "ada@example.com", name: "z", version: 0 }], { ignoreDuplicates: true });
  await child.increment("views"); await Child.increment({ views: 2 }, { where: { status: "draft" } }); await child.decrement("views", { by: 1 });
  await Child.update({ title: "t" }, { where: { views: { [Op.gt]: 3 } } });
  await Child.update({ body: literal("UPPER(title)") }, { where: { id: child.id }, ...(dialect === "postgres" ? { returning: true } : {}) });
  const gone = await Owner.findOne({ where: { email: "new@example.com" } });
  await gone.destroy(); await gone.restore(); await gone.destroy({ force: true });
  await Child.destroy({ where: { title: "nothing" } });
  await Child.destroy({ where: { title: "nothing" }, limit: 5 });
  return ada;
}

async function queries(ada) {
  await Owner.findAll({ where: { status: ["active", "hot"], name: { [Op.like]: "A%" }, id: { [Op.between]: [1, 9], [Op.ne]: 7 }, [Op.or]: [{ email: null }, { email: { [Op.not]: null } }] }, order: [["id", "DESC"]], limit: 5, offset: 5 });
  if (dialect === "postgres") {
    await Owner.findAll({ where: { name: { [Op.iLike]: "%a%" }, settings: { [Op.contains]: { theme: "dark" } }, email: { [Op.regexp]: "^a" } } });
    await Owner.findAll({ where: { name: { [Op.like]: { [Op.any]: ["A%", "B%"] } } } });
  } else await Owner.findAll({ where: { email: { [Op.regexp]: "^a" } } });
  await Owner.findAll({ where: { "settings.theme": "dark", "settings.n.a": { [Op.ne]: null } } });
  await Owner.findAll({ where: { settings: { theme: "dark" } } });
  await Owner.findAll({ include: [{ model: Child, as: "children", include: ["replies"] }, "profile"] });
  await Owner.findAll({ include: [{ model: Child, as: "children", where: { status: "draft" }, required: true }], limit: 2, order: [["id", "ASC"]] });
  await Owner.findAll({ include: [{ model: Child, as: "liked", through: { attributes: [] } }], subQuery: false, limit: 2 });
  await Owner.findAll({ include: [{ model: Child, as: "children", separate: true, limit: 2, order: [["id", "DESC"]] }] });
  await Owner.findAndCountAll({ include: ["children"], distinct: true, limit: 3 });
  await Child.findAll({ attributes: ["title", [fn("COUNT", col("id")), "n"], [fn("MAX", col("views")), "m"]], group: ["title"], having: where(fn("COUNT", col("id")), Op.gt, 0), order: [[literal("n"), "DESC"]] });
  await Owner.findAll({ attributes: { include: [[literal(`(SELECT COUNT(*) FROM ${tables.child} AS c WHERE c.owner_id = ${dialect === "postgres" ? '"Owner"' : "`Owner`"}.id)`), "n"]], exclude: ["settings"] } });
  await Ledger.sum("amount", { where: { currency: "EUR" } }); await Ledger.max("amount"); await Owner.count({ where: { status: "hot" } });
  await Child.count({ group: ["status"] });
  await Child.findAll({ where: where(fn("lower", col("title")), "first"), paranoid: false });
  await db.query(`SELECT name FROM ${tables.owner} WHERE id = :id`, { replacements: { id: 1 } });
  await db.query(`SELECT name FROM ${tables.owner} WHERE id = $1`, { bind: [1] });
  await db.transaction(async (t) => {
    await Owner.findOne({ where: { id: ada.id }, lock: t.LOCK.UPDATE, transaction: t });
    await Owner.findOne({ where: { id: ada.id }, lock: Transaction.LOCK.SHARE, skipLocked: true, transaction: t });
    await Child.create({ title: "in", ownerId: ada.id }, { transaction: t });
    await db.transaction({ transaction: t }, async (inner) => Child.create({ title: "nested", ownerId: ada.id }, { transaction: inner }));
  });
  await db.transaction({ isolationLevel: Transaction.ISOLATION_LEVELS.SERIALIZABLE }, async (t) => { await Owner.count({ transaction: t }); });
  await db.transaction(async () => { throw new Error("back"); }).catch(() => {});
}

await queries(await crud());
await db.close();
