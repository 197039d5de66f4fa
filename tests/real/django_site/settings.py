"""A shop whose pictures and static files are in a private bucket, with Forebay before it."""

import json
import os
import pathlib

SHOP = json.loads(os.environ["SHOP"])

STORAGES = {
    "default": {
        "BACKEND": "storages.backends.s3.S3Storage",
        "OPTIONS": {**SHOP["bucket"], "file_overwrite": False, **SHOP["media"]},
    },
    "staticfiles": {
        "BACKEND": "storages.backends.s3.S3Storage",
        "OPTIONS": {**SHOP["bucket"], "location": "static"},
    },
}
STATIC_URL = "static/"
STATICFILES_DIRS = [("fonts", SHOP["fonts"])]

DEBUG = True
SECRET_KEY = "of a test"
ALLOWED_HOSTS = ["*"]
CSRF_TRUSTED_ORIGINS = [SHOP["url"]]
USE_TZ = True
ROOT_URLCONF = "django_site.urls"
INSTALLED_APPS = ["django.contrib.staticfiles", "django_site"]
MIDDLEWARE = ["django.middleware.csrf.CsrfViewMiddleware"]
TEMPLATES = [{"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True}]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": pathlib.Path(SHOP["folder"], "shop.sqlite3")}}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
