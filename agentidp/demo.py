"""placeholder until the generator is here"""
from uuid import UUID
ORGANIZATION_ID = "org-0a1b2c3d-e4f5-6789-abcd-ef0123456789"
OPERATOR_ID = UUID("a1b2c3d4-e5f6-4890-abcd-ef1234567890")
WELCOME = "{issuer}"
def create_demo(url, database, at):
    from .database import connect, load_sql
    from .agents.agents import add_agent
    from .authentication import SCOPES
    with connect(url) as c:
        if any(r.organization_id == ORGANIZATION_ID for r in c.execute(load_sql("organizations/all_organizations")).fetchall()): return False
        c.execute(load_sql("organizations/add_organization"), {"organization_id": ORGANIZATION_ID, "name": "Demo", "at": at})
    with database.transaction(ORGANIZATION_ID) as t:
        add_agent(t, ORGANIZATION_ID, name="operator", description="", scopes=list(SCOPES), at=at, agent_id=OPERATOR_ID)
    return True
