"""What the order service says to the Director: each document is sent as it stands here."""

VIEWER = """
query OrdersViewer { viewer { id type } }
"""
EVENTING = """
query OrdersEventing($application: ID!) {
  application(id: $application) { id name eventingConfiguration { defaultURL } }
}
"""
REGISTERED = """
query OrdersRegistered($application: ID!) {
  application(id: $application) {
    id
    bundles {
      data {
        id
        name
        apiDefinitions {
          data { id name targetURL spec { id type format fetchRequest { url status { condition message } } } }
        }
        eventDefinitions { data { id name spec { id type format } } }
        documents { data { id title } }
      }
    }
    webhooks { id type url signingSecret }
  }
}
"""
ADD_BUNDLE = """
mutation OrdersAddBundle($application: ID!, $in: BundleCreateInput!) {
  addBundle(applicationID: $application, in: $in) { id name }
}
"""
ADD_API = """
mutation OrdersAddApi($bundle: ID!, $in: APIDefinitionInput!) {
  addAPIDefinitionToBundle(bundleID: $bundle, in: $in) {
    id
    name
    targetURL
    spec { id type format fetchRequest { url status { condition message } } }
  }
}
"""
ADD_EVENTS = """
mutation OrdersAddEvents($bundle: ID!, $in: EventDefinitionInput!) {
  addEventDefinitionToBundle(bundleID: $bundle, in: $in) { id name spec { id type format } }
}
"""
ADD_DOCUMENT = """
mutation OrdersAddDocument($bundle: ID!, $in: DocumentInput!) {
  addDocumentToBundle(bundleID: $bundle, in: $in) { id title }
}
"""
ADD_WEBHOOK = """
mutation OrdersAddWebhook($application: ID!, $in: WebhookInput!) {
  addWebhook(applicationID: $application, in: $in) { id type url signingSecret }
}
"""
UPDATE_API = """
mutation OrdersUpdateApi($api: ID!, $in: APIDefinitionInput!) {
  updateAPIDefinition(id: $api, in: $in) { id name targetURL }
}
"""
INSTANCE_AUTHS = """
query OrdersInstanceAuths($application: ID!) {
  application(id: $application) {
    id
    bundles {
      data {
        id
        instanceAuths {
          id
          runtimeID
          status { condition }
          auth { credential { ... on BasicCredentialData { username } } }
        }
      }
    }
  }
}
"""
CREATE_INSTANCE_AUTH = """
mutation OrdersCreateInstanceAuth($bundle: ID!, $in: BundleInstanceAuthCreateInput!) {
  createBundleInstanceAuth(bundleID: $bundle, in: $in) { id }
}
"""
SET_INSTANCE_AUTH = """
mutation OrdersSetInstanceAuth($auth: ID!, $in: BundleInstanceAuthSetInput!) {
  setBundleInstanceAuth(authID: $auth, in: $in) { id }
}
"""
DELETE_INSTANCE_AUTH = """
mutation OrdersDeleteInstanceAuth($auth: ID!) {
  deleteBundleInstanceAuth(authID: $auth) { id }
}
"""
