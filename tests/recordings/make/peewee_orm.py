"""peewee (psycopg2; PyMySQL)."""

import datetime as dt
import decimal

import peewee as pw
from playhouse.shortcuts import model_to_dict

from place import DIALECT, place
from schema import TABLES

T = TABLES[DIALECT]
if DIALECT == "postgres":
    from playhouse.postgres_ext import BinaryJSONField as Json
    from playhouse.postgres_ext import PostgresqlExtDatabase

    db = PostgresqlExtDatabase(place.database, host=place.host, port=place.port, user=place.user, password=place.password, sslmode="verify-full", sslrootcert=place.ca)
else:
    # MariaDB has no `CAST(… AS JSON)`, which playhouse's field for MySQL writes.
    Json = pw.TextField

    db = pw.MySQLDatabase(place.database, host=place.host, port=place.port, user=place.user, password=place.password, ssl={"ca": place.ca})


class Base(pw.Model):
    id = pw.BigAutoField()

    class Meta:
        database = db


class Owner(Base):
    email = pw.CharField(unique=True)
    name = pw.CharField()
    status = pw.CharField(default="active")
    balance = pw.DecimalField(14, 2, default=0)
    settings = Json(null=True)
    version = pw.IntegerField(default=1)
    created_at = pw.DateTimeField(default=dt.datetime.now)
    deleted_at = pw.DateTimeField(null=True)

    class Meta:
        table_name = T["owner"]


class Child(Base):
    owner = pw.ForeignKeyField(Owner, backref="children", column_name="owner_id")
    reply_to = pw.ForeignKeyField("self", null=True, backref="replies", column_name="reply_to_id")
    title = pw.CharField()
    body = pw.TextField(null=True)
    status = pw.CharField(default="draft")
    views = pw.IntegerField(default=0)

    class Meta:
        table_name = T["child"]


class Ledger(Base):
    owner = pw.ForeignKeyField(Owner, backref="entries", column_name="owner_id")
    amount = pw.DecimalField(14, 2)
    currency = pw.CharField()
    kind = pw.CharField()

    class Meta:
        table_name = T["ledger"]


def crud():
    ada = Owner.create(email="ada@example.com", name="Ada", settings={"theme": "dark"} if DIALECT == "postgres" else '{"theme": "dark"}')
    Owner.insert_many([{"email": f"u{i}@example.com", "name": "it's \\ 100%"} for i in range(3)]).execute()
    first = Child.create(owner=ada, title="first")
    Child.create(owner=ada, title="reply", reply_to=first)
    Ledger.bulk_create([Ledger(owner=ada, amount=decimal.Decimal(i), currency="EUR", kind="fee") for i in range(4)], batch_size=2)
    Owner.get_by_id(ada.id), Owner.get_or_none(Owner.email == "x"), Owner.get_or_create(email="ada@example.com", defaults={"name": "n"})
    ada.name = "Ada L."
    ada.save()
    ada.save(only=[Owner.name])
    Child.update(views=Child.views + 1).where(Child.status == "draft").execute()
    Child.update({Child.title: pw.fn.UPPER(Child.title)}).where(Child.id.in_(Child.select(Child.id).where(Child.views > 99)) if DIALECT == "postgres" else Child.views > 99).execute()
    rows = list(Child.select())
    for row in rows:
        row.views += 1
    Child.bulk_update(rows, [Child.views])
    first.delete_instance(recursive=True)
    Owner.delete().where(Owner.email.startswith("zz")).execute()
    insert = Owner.insert(email="ada@example.com", name="x", status="active", balance=0, version=1)
    if DIALECT == "postgres":
        insert.on_conflict(conflict_target=[Owner.email], preserve=[Owner.name], update={Owner.version: Owner.version + 1}).execute()
        insert.on_conflict_ignore().execute()
        list(Child.update(views=0).returning(Child.id, Child.title).execute())
        list(Owner.select().where(Owner.settings["theme"] == "dark"))
        list(Owner.select().where(Owner.settings.contains({"theme": "dark"})))
    else:
        insert.on_conflict(preserve=[Owner.name], update={Owner.version: Owner.version + 1}).execute()
        insert.on_conflict_ignore().execute()
        Owner.replace(email="r@example.com", name="r", status="active", balance=0, version=1).execute()
    return ada


def queries(ada):
    list(Owner.select().where((Owner.name ** "%a%") | (Owner.email.contains("x")), ~(Owner.deleted_at.is_null(False))).order_by(Owner.id.desc()).paginate(2, 10))
    list(Child.select(Child, Owner).join(Owner).where(Owner.email == "ada@example.com"))
    list(Owner.select(Owner, pw.fn.COUNT(Child.id).alias("n")).join(Child, pw.JOIN.LEFT_OUTER).group_by(Owner).having(pw.fn.COUNT(Child.id) >= 0))
    list(pw.prefetch(Owner.select(), Child.select().where(Child.status == "draft")))
    list(ada.children), list(ada.entries)
    Ledger.select(pw.fn.SUM(Ledger.amount), pw.fn.AVG(Ledger.amount)).scalar(as_tuple=True)
    Owner.select().count(), Owner.select().where(Owner.id == 1).exists()
    rank = pw.fn.RANK().over(partition_by=[Ledger.currency], order_by=[Ledger.amount.desc()])
    list(Ledger.select(Ledger.id, rank.alias("rank")))
    sub = Child.select(Child.owner, pw.fn.MAX(Child.id).alias("last")).group_by(Child.owner).alias("sub")
    list(Owner.select(Owner.name, sub.c.last).join(sub, on=(sub.c.owner_id == Owner.id)))
    cte = Child.select(Child.owner, pw.fn.COUNT(Child.id).alias("n")).group_by(Child.owner).cte("counts")
    list(Owner.select(Owner.name, cte.c.n).join(cte, on=(cte.c.owner_id == Owner.id)).with_cte(cte))
    base = Child.select(Child.id, Child.reply_to).where(Child.reply_to.is_null()).cte("tree", recursive=True)
    more = Child.alias()
    tree = base.union_all(more.select(more.id, more.reply_to).join(base, on=(more.reply_to == base.c.id)))
    list(tree.select_from(tree.c.id))
    list(Owner.select(Owner.name) | Child.select(Child.title))
    list(Owner.select(pw.Case(Owner.status, [("active", 1)], 0), Owner.created_at.year))
    [model_to_dict(row) for row in Owner.select().tuples().iterator()] if False else None
    with db.atomic():
        list(Owner.select().where(Owner.id == 1).for_update())
        with db.atomic() as point:
            Child.create(owner=ada, title="x")
            point.rollback()
    with db.transaction() as txn:
        Child.create(owner=ada, title="y")
        txn.rollback()
    db.execute_sql(f"SELECT name FROM {T['owner']} WHERE id = %s", (1,)).fetchall()


db.connect()
queries(crud())
