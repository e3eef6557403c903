"""A small shop: a Django project for the tests, on the database shop.db of the working directory."""
