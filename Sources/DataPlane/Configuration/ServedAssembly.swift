import Forwarding
import TLS

/// Makes what the workers take of what the store serves. What has not changed stays the same object.
struct ServedAssembly {
    mutating func assemble(_ table: ResourceTable<CompiledResource>) -> (ProxyConfiguration, problems: [String]) {
        (ProxyConfiguration(), [])
    }
}
