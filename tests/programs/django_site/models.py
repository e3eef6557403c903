"""Orders and what is left in stock."""

from django.db import models


class Order(models.Model):
    worker = models.IntegerField()


class Stock(models.Model):
    item = models.TextField()
    left = models.IntegerField()
