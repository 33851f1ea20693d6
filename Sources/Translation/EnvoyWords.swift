import EnvoyAPI
import XDS

// Words that both libraries have: here they mean these.
typealias Resource = XDS.Resource
typealias Locality = XDS.Locality
