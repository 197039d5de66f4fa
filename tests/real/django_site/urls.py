from django.forms import modelform_factory
from django.shortcuts import redirect, render
from django.urls import path

from django_site.models import Photo

PhotoForm = modelform_factory(Photo, fields=["image"])


def page(request):
    """All pictures, and a form that takes another one."""
    form = PhotoForm(request.POST or None, request.FILES or None)
    if form.is_valid():
        form.save()
        return redirect("page")
    return render(request, "page.html", {"photos": Photo.objects.order_by("pk"), "form": form})


urlpatterns = [path("", page, name="page")]
