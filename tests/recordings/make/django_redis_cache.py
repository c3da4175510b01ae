"""django-redis as Django's cache and session store, and redis-py's own locks; keys under `cache:`."""

import django
from django.conf import settings

from place import place

url = f"rediss://{place.user}:{place.password}@localhost:{place.port}/0"
pool = {"ssl_ca_certs": place.ca}
def make_key(key, prefix, version):
    return f"cache:{version}:{key}"


if __name__ == "__main__":
    settings.configure(
        CACHES={"default": {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": url, "KEY_PREFIX": "cache", "KEY_FUNCTION": "django_redis_cache.make_key", "OPTIONS": {"CLIENT_CLASS": "django_redis.client.DefaultClient", "CONNECTION_POOL_KWARGS": pool}},
                "own": {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": url, "KEY_FUNCTION": "django_redis_cache.make_key", "KEY_PREFIX": "cache", "OPTIONS": pool}},
        SESSION_ENGINE="django.contrib.sessions.backends.cache", INSTALLED_APPS=[],
    )
    django.setup()
    from django.core.cache import caches

    for cache in (caches["default"], caches["own"]):
        cache.set("k", {"a": 1}, 60), cache.get("k"), cache.add("k", 2), cache.get_or_set("l", 3), cache.get_many(["k", "l", "m"])
        cache.set_many({"a": 1, "b": "x"}, timeout=30), cache.touch("a", 10), cache.set("n", 1), cache.incr("n"), cache.decr("n", 2), cache.has_key("n")
        cache.delete("a"), cache.delete_many(["a", "b"]), cache.set("forever", 1, None)
    cache = caches["default"]
    cache.ttl("k"), cache.pttl("k"), cache.expire("k", 5), cache.persist("k"), list(cache.iter_keys("*")), cache.keys("k*"), cache.delete_pattern("k*")
    with cache.lock("mutex", timeout=5):
        pass
    cache.sadd("s", 1), cache.smembers("s"), cache.hset("h", "a", 1) if hasattr(cache, "hset") else None
    from django.contrib.sessions.backends.cache import SessionStore

    s = SessionStore()
    s["user"] = 1
    s.save(), SessionStore(s.session_key).load(), s.cycle_key(), s.delete()
    import redis

    db = redis.Redis(host="localhost", port=place.port, username=place.user, password=place.password, ssl=True, ssl_ca_certs=place.ca)
    with db.pipeline() as pipe:
        pipe.watch("cache:w")
        pipe.multi()
        pipe.incr("cache:w").expire("cache:w", 5)
        pipe.execute()
    lock = db.lock("cache:lock", timeout=2)
    lock.acquire(), lock.extend(1), lock.reacquire(), lock.release()
