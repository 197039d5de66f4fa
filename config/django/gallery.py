"""A gallery in one file: uploads go to the bucket, browsers get the files from Forebay."""

import os
import sys
import time
import uuid

import boto3
import django
from botocore.exceptions import BotoCoreError, ClientError
from django.conf import settings

BUCKET = {"bucket_name": "media", "region_name": "us-east-1", "endpoint_url": "http://bucket:8333"}

settings.configure(
    ALLOWED_HOSTS=["localhost", "127.0.0.1"],
    ROOT_URLCONF=__name__,
    # New with each start, because there are no sessions.
    SECRET_KEY=uuid.uuid4().hex,
    MIDDLEWARE=["django.middleware.csrf.CsrfViewMiddleware"],
    TEMPLATES=[{"BACKEND": "django.template.backends.django.DjangoTemplates"}],
    STORAGES={
        "default": {
            "BACKEND": "storages.backends.s3.S3Storage",
            "OPTIONS": {
                **BUCKET,
                "file_overwrite": False,
                # Where browsers find Forebay.
                "custom_domain": "localhost:8080",
                "url_protocol": "http:",
            },
        },
        "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
    },
)
django.setup()

from django.core.files.storage import default_storage  # noqa: E402
from django.core.management import execute_from_command_line  # noqa: E402
from django.http import HttpResponse, HttpResponseRedirect  # noqa: E402
from django.template import RequestContext, Template  # noqa: E402
from django.urls import path  # noqa: E402
from django.views.decorators.http import require_POST  # noqa: E402

PAGE = """<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<title>Gallery</title>
<form action="upload" method="post" enctype="multipart/form-data">
  {% csrf_token %}<input type="file" name="file" required aria-label="File"> <button>Upload</button>
</form>
<form action="delete" method="post">
  {% csrf_token %}
  {% for name, url in files %}
  <p><a href="{{ url }}"><img src="{{ url }}" alt="{{ name }}" height="120"></a> <button name="name" value="{{ name }}">Delete</button></p>
  {% endfor %}
</form>
</html>
"""


def index(request):
    names = default_storage.listdir("")[1]
    files = [(name, default_storage.url(name)) for name in names]
    return HttpResponse(Template(PAGE).render(RequestContext(request, {"files": files})))


@require_POST
def upload(request):
    for file in request.FILES.getlist("file"):
        default_storage.save(file.name, file)
    return HttpResponseRedirect("/")


@require_POST
def delete(request):
    name = request.POST["name"]
    url = default_storage.url(name)
    default_storage.delete(name)
    try:
        purge("/" + url.split("/", 3)[3])
    except (BotoCoreError, ClientError) as error:
        # Until it is purged, Forebay may serve its copy. A real site repeats this later.
        print(f"{name} is deleted, but not purged:", error, file=sys.stderr)
    return HttpResponseRedirect("/")


def purge(path):
    """Removes a path from Forebay's cache, as from CloudFront's."""
    cloudfront = boto3.client(
        "cloudfront",
        endpoint_url="http://forebay:9145",
        region_name="us-east-1",
        aws_access_key_id="SITE",
        aws_secret_access_key=os.environ["PURGE_SECRET"],
    )
    cloudfront.create_invalidation(
        DistributionId="E1MEDIA",
        InvalidationBatch={"Paths": {"Quantity": 1, "Items": [path]}, "CallerReference": str(uuid.uuid4())},
    )


urlpatterns = [path("", index), path("upload", upload), path("delete", delete)]


def make_bucket():
    """Creates the bucket as soon as the store answers."""
    s3 = boto3.client("s3", endpoint_url=BUCKET["endpoint_url"], region_name=BUCKET["region_name"])
    for _ in range(60):
        try:
            if BUCKET["bucket_name"] not in [bucket["Name"] for bucket in s3.list_buckets()["Buckets"]]:
                s3.create_bucket(Bucket=BUCKET["bucket_name"])
            return
        except (BotoCoreError, ClientError) as error:
            print("waiting for the store:", error, file=sys.stderr)
            time.sleep(1)
    sys.exit("cannot create the bucket")


if __name__ == "__main__":
    make_bucket()
    execute_from_command_line(sys.argv)
