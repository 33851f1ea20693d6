/// What is read from a ClientHello's extensions, as values.
enum ClientHello {
    /// The host name of a server_name extension, in lower case; nil if there is none or it is no host
    /// name (RFC 6066, 3).
    static func serverName(_ bytes: UnsafeBufferPointer<UInt8>) -> String? {
        // A list of two length bytes; its entries: a type, two length bytes, a name. Type 0: host name.
        guard bytes.count > 5, UInt16(bytes[0]) << 8 | UInt16(bytes[1]) == bytes.count - 2, bytes[2] == 0 else {
            return nil
        }
        let count = Int(bytes[3]) << 8 | Int(bytes[4])
        guard count > 0, count <= 253, 5 + count <= bytes.count else { return nil }
        let name = bytes[5..<5 + count]
        guard name.allSatisfy({ $0 < 0x80 }) else { return nil }
        let text = String(decoding: name, as: UTF8.self).lowercased()
        return isHostName(text) ? text : nil
    }

    /// The protocols of an ALPN list, each after a length byte; what is malformed ends it (RFC 7301, 3.1).
    static func protocols(_ list: UnsafeBufferPointer<UInt8>) -> [UnsafeBufferPointer<UInt8>] {
        var protocols: [UnsafeBufferPointer<UInt8>] = []
        var rest = list
        while let count = rest.first.map(Int.init), count > 0, rest.count > count {
            protocols.append(UnsafeBufferPointer(rebasing: rest[1...count]))
            rest = UnsafeBufferPointer(rebasing: rest[(1 + count)...])
        }
        return protocols
    }
}
