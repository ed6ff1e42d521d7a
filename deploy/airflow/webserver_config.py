"""Configuration of Airflow's FAB auth manager: users with passwords in Airflow's database, nobody without a login."""

from flask_appbuilder.const import AUTH_DB

AUTH_TYPE = AUTH_DB
AUTH_USER_REGISTRATION = False
WTF_CSRF_ENABLED = True
