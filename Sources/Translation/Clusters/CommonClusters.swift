import EnvoyAPI
import Mesh
import XDS

extension Translator {
    /// Where goes what no service is: to where the client meant it to go, or nowhere.
    public func commonClusters() -> [XDS.Resource] {
        let blackHole = arena.make(Cluster.self) { cluster in
            cluster.name = arena(ResourceNames.blackHole)
            cluster.set(type: .STATIC)
            cluster.connect_timeout = connectTimeout(nil)
        }
        return [
            resource(.cluster, ResourceNames.blackHole, blackHole),
            resource(.cluster, ResourceNames.passthrough, passthrough(ResourceNames.passthrough)),
        ]
    }

    /// A cluster that leads to where the client meant to go.
    func passthrough(_ name: String) -> UnsafeMutablePointer<Cluster> {
        arena.make { cluster in
            cluster.name = arena(name)
            cluster.connect_timeout = connectTimeout(nil)
            setOriginalDestination(&cluster)
            limit(&cluster, nil)
            setProtocol(&cluster, nil, nil)
        }
    }
}
