"""The requests of the tests, for gunicorn's prefork workers. They wait for each other through files in the working directory."""

import os
import pathlib
import time

from django.core.wsgi import get_wsgi_application
from django.db import OperationalError, connection, transaction
from django.db.models import F
from django.http import JsonResponse
from django.urls import path


def until(condition):
    deadline = time.monotonic() + 30
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError
        time.sleep(0.005)


def meet(request):
    """Waits until three workers are in here at once, then writes with the others."""
    from .models import Order

    here = pathlib.Path("meeting")
    here.mkdir(exist_ok=True)
    (here / str(os.getpid())).touch()
    until(lambda: len(list(here.iterdir())) == 3)
    for _ in range(20):
        with transaction.atomic():
            Order.objects.create(worker=os.getpid())
    return JsonResponse({"pid": os.getpid()})


def hold(request):
    """Holds a write transaction until somebody else was refused."""
    from .models import Stock

    with transaction.atomic():
        Stock.objects.filter(item="chair").update(left=F("left") - 1)
        pathlib.Path("holding").touch()
        until(pathlib.Path("refused").exists)
    return JsonResponse({"pid": os.getpid()})


def order(request):
    """Does not wait for a lock."""
    from .models import Order

    connection.ensure_connection()
    connection.connection.execute("PRAGMA busy_timeout = 0")
    error = None
    try:
        Order.objects.create(worker=os.getpid())
    except OperationalError as refused:
        error = str(refused)
    return JsonResponse({"pid": os.getpid(), "error": error})


def count(request):
    from .models import Order

    return JsonResponse({"orders": Order.objects.count()})


urlpatterns = [path("meet", meet), path("hold", hold), path("order", order), path("count", count)]
application = get_wsgi_application()
