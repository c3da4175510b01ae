"""Django's ORM (psycopg; PyMySQL in MySQLdb's place), its sessions and its cache table apart."""

import datetime as dt
import decimal
import pathlib
import sys
import types

import django
from django.conf import settings

from place import DIALECT, place
from schema import TABLES

T = TABLES[DIALECT]
if DIALECT == "mysql":
    import pymysql

    pymysql.version_info = (2, 2, 7, "final", 0)
    pymysql.install_as_MySQLdb()

DATABASE = {
    "ENGINE": "django.db.backends." + ("postgresql" if DIALECT == "postgres" else "mysql"),
    "HOST": place.host, "PORT": place.port, "USER": place.user, "PASSWORD": place.password, "NAME": place.database,
    "OPTIONS": {"sslmode": "verify-full", "sslrootcert": place.ca} if DIALECT == "postgres" else {"ssl": {"ca": place.ca}},
}
# An installed application, so that relations know their other ends.
app = types.ModuleType("app")
app.__path__ = [str(pathlib.Path(__file__).parent)]
sys.modules["app"] = app
settings.configure(DATABASES={"default": DATABASE}, USE_TZ=True, INSTALLED_APPS=["app"], DEFAULT_AUTO_FIELD="django.db.models.BigAutoField")
django.setup()

from django.db import IntegrityError, connection, models, transaction  # noqa: E402
from django.db.models import Avg, Case, Count, Exists, F, Max, OuterRef, Prefetch, Q, Subquery, Sum, Value, When, Window  # noqa: E402
from django.db.models.functions import Coalesce, Concat, ExtractYear, Length, Lower, Now, Rank, RowNumber, TruncDay, TruncMonth, Cast  # noqa: E402


class Owner(models.Model):
    email = models.EmailField(unique=True)
    name = models.CharField(max_length=255)
    status = models.CharField(max_length=16, default="active")
    balance = models.DecimalField(max_digits=14, decimal_places=2, default=0)
    settings = models.JSONField(null=True)
    version = models.IntegerField(default=1)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)
    deleted_at = models.DateTimeField(null=True)
    liked = models.ManyToManyField("Child", through="Link", related_name="likers")

    class Meta:
        app_label = "app"
        db_table = T["owner"]


class Profile(models.Model):
    owner = models.OneToOneField(Owner, models.CASCADE)
    bio = models.TextField(null=True)
    born_on = models.DateField(null=True)
    avatar = models.BinaryField(null=True)

    class Meta:
        app_label = "app"
        db_table = T["profile"]


class Child(models.Model):
    owner = models.ForeignKey(Owner, models.CASCADE, related_name="children")
    reply_to = models.ForeignKey("self", models.SET_NULL, null=True, related_name="replies")
    title = models.CharField(max_length=255)
    body = models.TextField(null=True)
    status = models.CharField(max_length=16, default="draft")
    views = models.IntegerField(default=0)
    tags = models.JSONField(null=True)
    published_at = models.DateTimeField(null=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        app_label = "app"
        db_table = T["child"]
        ordering = ["-created_at", "id"]


class Ledger(models.Model):
    owner = models.ForeignKey(Owner, models.CASCADE, related_name="entries")
    amount = models.DecimalField(max_digits=14, decimal_places=2)
    currency = models.CharField(max_length=3)
    kind = models.CharField(max_length=16)
    meta = models.JSONField(null=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        app_label = "app"
        db_table = T["ledger"]


class Link(models.Model):
    owner = models.ForeignKey(Owner, models.CASCADE)
    child = models.ForeignKey(Child, models.CASCADE)
    label = models.CharField(max_length=64, null=True)

    class Meta:
        app_label = "app"
        db_table = T["link"]
        unique_together = [("owner", "child")]


def attempt(query):
    """Some features are one server's only."""
    try:
        with transaction.atomic():
            return list(query)
    except Exception as error:  # noqa: BLE001
        print("not here:", type(error).__name__, str(error)[:100])


def create_and_read():
    ada = Owner.objects.create(email="ada@example.com", name="Ada", settings={"theme": "dark", "n": {"a": [1, 2]}})
    Profile.objects.create(owner=ada, bio="it's \\ \"quoted\" 100%", born_on=dt.date(1815, 12, 10), avatar=b"\x00\xff'\\")
    Owner.objects.bulk_create([Owner(email=f"u{i}@example.com", name=f"U{i}") for i in range(3)])
    first = ada.children.create(title="first", tags=["a"])
    Child.objects.create(owner=ada, title="reply", reply_to=first)
    ada.liked.add(first)
    ada.liked.set([first])
    Ledger.objects.bulk_create([Ledger(owner=ada, amount=decimal.Decimal(i), currency="EUR", kind="deposit", meta={"ip": "::1"}) for i in range(4)], batch_size=2)
    ada = Owner.objects.get(pk=ada.pk)
    ada.name = "Ada L."
    ada.save()
    ada.save(update_fields=["name"])
    ada.refresh_from_db()
    Owner.objects.get_or_create(email="ada@example.com", defaults={"name": "no"})
    Owner.objects.get_or_create(email="new@example.com", defaults={"name": "new"})
    Owner.objects.update_or_create(email="new@example.com", defaults={"name": "newer"})
    return ada, first


def load(ada):
    o = Owner.objects
    list(o.filter(status="active").exclude(deleted_at__isnull=False).order_by("-created_at")[5:15])
    list(o.select_related("profile").prefetch_related("children__replies", "liked"))
    list(Child.objects.select_related("owner__profile", "reply_to").filter(owner__profile__bio__isnull=False))
    list(o.prefetch_related(Prefetch("children", Child.objects.filter(status="draft").only("title", "owner"), to_attr="drafts")))
    list(o.filter(Q(name__icontains="a%") | Q(email__iexact="X@Y"), ~Q(children__title__startswith="t")).distinct())
    list(o.filter(name__istartswith="a", email__endswith=".com", name__contains="d_a", name__iendswith="l."))
    list(o.filter(name__regex=r"^A.*", email__iregex=r"ada"))
    list(o.filter(id__in=[1, 2, 3], created_at__range=(dt.datetime(2020, 1, 1, tzinfo=dt.UTC), dt.datetime(2030, 1, 1, tzinfo=dt.UTC))))
    list(o.filter(created_at__year=2026, created_at__month__gte=1, created_at__date=dt.date(2026, 1, 1), created_at__hour=1, created_at__week_day=2))
    list(o.filter(id__in=Child.objects.filter(views__gt=3).values("owner")))
    list(Child.objects.values_list("title", flat=True).order_by("?")[:2])
    list(o.values("status").annotate(n=Count("id")).order_by("-n"))
    list(Child.objects.defer("body").filter(owner=ada).reverse()[:1])
    o.first(), o.last(), o.count(), o.exists(), o.earliest("created_at"), o.in_bulk([1, 2]), o.none().count()
    list(o.filter(pk=1).union(o.filter(pk=2), all=True).order_by("pk"))
    attempt(o.filter(pk=1).intersection(o.filter(pk__lt=5)))
    attempt(o.filter(pk=1).difference(o.filter(pk__lt=5)))
    list(o.iterator(chunk_size=2))
    list(o.filter(settings__theme="dark", settings__n__a__0=1))
    list(o.filter(settings__has_key="theme"))
    attempt(o.filter(settings__has_keys=["theme", "n"], settings__has_any_keys=["n", "x"]))
    attempt(o.filter(settings__contains={"theme": "dark"}))
    list(o.filter(settings__theme__icontains="da", settings__n__isnull=False).order_by("settings__theme"))
    list(o.values("settings__theme"))
    attempt(o.dates("created_at", "month"))
    attempt(o.datetimes("created_at", "hour"))
    list(o.raw(f"SELECT * FROM {T['owner']} WHERE name = %s", ["Ada L."]))
    print(o.filter(pk=1).explain())


def lock():
    with transaction.atomic():
        list(Owner.objects.select_for_update().filter(pk=1))
    with transaction.atomic():
        list(Owner.objects.select_for_update(skip_locked=True).filter(pk=1))
    attempt(Owner.objects.select_for_update(nowait=True).order_by("pk"))
    attempt(Child.objects.select_related("owner").select_for_update(of=("self",)))
    attempt(Owner.objects.select_for_update(no_key=True))


def aggregate():
    Ledger.objects.aggregate(Sum("amount"), Avg("amount"), m=Max("created_at"), n=Count("owner", distinct=True))
    list(Owner.objects.annotate(total=Coalesce(Sum("entries__amount"), Value(0), output_field=models.DecimalField())).filter(total__gt=1))
    list(Owner.objects.annotate(n=Count("children", filter=Q(children__status="draft"))).order_by("-n"))
    attempt(Ledger.objects.annotate(month=TruncMonth("created_at"), day=TruncDay("created_at"), year=ExtractYear("created_at")).values("month", "day", "year").annotate(Sum("amount")))
    latest = Child.objects.filter(owner=OuterRef("pk")).order_by("-id")
    list(Owner.objects.annotate(last=Subquery(latest.values("title")[:1]), any=Exists(latest)).filter(any=True))
    list(Child.objects.annotate(r=Window(RowNumber(), partition_by=F("owner"), order_by=F("id").desc())).filter(r=1))
    list(Ledger.objects.annotate(s=Window(Sum("amount"), order_by="id"), k=Window(Rank(), order_by=F("amount").desc(nulls_last=True))))
    list(Child.objects.annotate(temp=Case(When(views__gt=10, then=Value("hot")), default=Value("cold")), low=Lower("title"), n=Length("title"), c=Concat("title", Value("-"), "status"), v=Cast("views", models.CharField(max_length=9))))
    list(Child.objects.filter(created_at__lt=Now(), views__gte=F("id") - 10))


def write(ada, first):
    Child.objects.filter(status="draft").update(views=F("views") + 1, published_at=Now())
    Child.objects.filter(owner__status="gone").update(status="x")
    Owner.objects.filter(children__views__gt=99).delete()
    rows = list(Child.objects.all()[:3])
    Child.objects.bulk_update(rows, ["title", "views"])
    Owner.objects.bulk_create([Owner(email="ada@example.com", name="x")], ignore_conflicts=True)
    unique = {"unique_fields": ["email"]} if DIALECT == "postgres" else {}
    Owner.objects.bulk_create([Owner(email="ada@example.com", name="y")], update_conflicts=True, update_fields=["name"], **unique)
    first.replies.all().delete()
    ada.liked.remove(first), ada.liked.clear()
    with transaction.atomic():
        Child.objects.create(owner=ada, title="outer")
        try:
            with transaction.atomic():
                Owner.objects.create(email="ada@example.com", name="again")
        except IntegrityError:
            pass
        with transaction.atomic(durable=False):
            Child.objects.create(owner=ada, title="inner")
    Owner.objects.filter(email="new@example.com").delete()
    Owner.objects.get(email="u0@example.com").delete()
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT count(*) FROM {T['child']} WHERE owner_id = %s", [ada.pk])


def postgres_only():
    from django.contrib.postgres.aggregates import ArrayAgg, StringAgg
    from django.contrib.postgres.search import SearchQuery, SearchRank, SearchVector

    vector = SearchVector("title", weight="A") + SearchVector("body", weight="B")
    list(Child.objects.annotate(rank=SearchRank(vector, SearchQuery("first"))).order_by("-rank"))
    list(Child.objects.annotate(search=SearchVector("title", config="english")).filter(search=SearchQuery("a b", search_type="phrase")))
    attempt(Owner.objects.annotate(titles=ArrayAgg("children__title", distinct=True)))
    attempt(Owner.objects.annotate(titles=StringAgg("children__title", delimiter=Value(","))))
    attempt(Owner.objects.order_by("status", "id").distinct("status"))


ada, first = create_and_read()
load(ada)
lock()
aggregate()
write(ada, first)
if DIALECT == "postgres":
    postgres_only()
