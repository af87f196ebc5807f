"""cybs_staff: groups, and who is limited to what."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import Group, Permission, User

from django_cybs_jwt.services import permissions, scope
from tests.unit.management.running import run
from tests.unit.services import estate

pytestmark = [
    pytest.mark.django_db,
    pytest.mark.usefixtures("cybs_ring", "fresh_chain"),
]


def test_groups_hold_what_their_names_say() -> None:
    assert run("cybs_staff", "groups").code == 0
    for name, wanted in permissions.GROUPS.items():
        user = User.objects.create(username=name)
        user.groups.add(Group.objects.get(name=name))
        assert user.get_all_permissions() == set(wanted)


def test_every_permission_is_one_that_django_stores() -> None:
    stored = {
        f"cybs_jwt.{codename}"
        for codename in Permission.objects.filter(content_type__app_label="cybs_jwt").values_list(
            "codename", flat=True
        )
    }
    assert {*permissions.Permission, *permissions.VIEW} <= stored


def test_a_group_that_exists_is_the_hosts_own_until_it_is_reset() -> None:
    run("cybs_staff", "groups")
    group = Group.objects.get(name="Cybersource operators")
    theirs = Permission.objects.get(codename="add_group")
    group.permissions.set([theirs])
    assert {row["written"] for row in run("cybs_staff", "groups", "--json").json} == {False}
    assert list(group.permissions.all()) == [theirs]
    run("cybs_staff", "groups", "--reset")
    assert theirs in group.permissions.all()
    assert group.permissions.count() == len(permissions.GROUPS[group.name]) + 1


def test_without_the_permissions_no_group_is_made() -> None:
    Permission.objects.filter(codename="rotate_credential").delete()
    ended = run("cybs_staff", "groups")
    assert ended.code == 2
    assert "migrate" in ended.err
    assert not Group.objects.exists()


def test_limit_list_and_lift() -> None:
    mara = User.objects.create(username="mara")
    estate.organization("mall", kind="portfolio")
    assert "Nobody is limited" in run("cybs_staff", "list").out
    limited = run("cybs_staff", "limit", "mara", "mall", "--user", "kim", "--json")
    assert limited.json == [{"user": "mara", "organizations": f"mall@{estate.LIVE_HOST}"}]
    assert scope.of(mara).is_limited
    assert run("cybs_staff", "lift", "mara", "--json").json == []
    assert not scope.of(mara).is_limited


@pytest.mark.parametrize("arguments", [("limit", "nobody", "mall"), ("lift", "nobody")])
def test_an_unknown_user_ends_with_2(arguments: tuple[str, ...]) -> None:
    estate.organization("mall", kind="portfolio")
    ended = run("cybs_staff", *arguments)
    assert (ended.code, ended.err) == (2, "No user 'nobody'.")


def test_an_unknown_organization_limits_nobody() -> None:
    mara = User.objects.create(username="mara")
    assert run("cybs_staff", "limit", "mara", "nowhere").code == 2
    assert not scope.of(mara).is_limited
