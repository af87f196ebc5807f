"""Staff of every kind, logged in; the groups are those that the product makes."""

from __future__ import annotations

from typing import Any

from django.apps import apps
from django.contrib.auth.models import Group, Permission, User
from django.test import Client
from django.urls import reverse

from django_cybs_jwt.admin.sudo import _STAMP
from django_cybs_jwt.models import Organization
from django_cybs_jwt.services import permissions, scope

PASSWORD = "correct horse"


def superuser(name: str = "root") -> User:
    return User.objects.create_superuser(name, password=PASSWORD)


def staff(name: str, *groups: str) -> User:
    """A user in these groups of ours, named by their last word."""
    permissions.make_groups()
    user = User.objects.create_user(name, password=PASSWORD, is_staff=True)
    for group in groups:
        user.groups.add(Group.objects.get(name=f"Cybersource {group}"))
    return user


def allowed(name: str, *codenames: str) -> User:
    """A user with single permissions."""
    user = User.objects.create_user(name, password=PASSWORD, is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=codenames))
    return user


def limited(user: User, *tops: Organization) -> User:
    scope.limit(user, tops, actor="tests")
    return user


def client(user: User, **options: Any) -> Client:
    made = Client(**options)
    made.force_login(user)
    return made


def password_typed(made: Client, at: float) -> None:
    """As if the password had been typed at that moment."""
    session = made.session
    session[_STAMP] = at
    session.save()


def asks_password(answer: Any) -> bool:
    """True for the page that asks for it, and for the way to that page."""
    is_led = answer.status_code == 302 and "/password/?next=" in answer["Location"]
    return is_led or "cybs_jwt/password.html" in [each.name for each in answer.templates]


def url(model: str, page: str, *arguments: Any) -> str:
    return reverse(f"admin:cybs_jwt_{model}_{page}", args=arguments)


def registered() -> list[str]:
    from django.contrib import admin

    models = apps.get_app_config("cybs_jwt").get_models()
    return [model._meta.model_name for model in models if admin.site.is_registered(model)]
