import COpenSSL

/// One `-----BEGIN LABEL-----` block. Text around the blocks is ignored. Source: RFC 7468.
struct PEMBlock {
    let label: String
    let der: [UInt8]

    /// - Throws: what is wrong with the first bad block, counted from 1.
    static func all(_ text: [UInt8], labels: Set<String>) throws(PEMFault) -> [PEMBlock] {
        var blocks: [PEMBlock] = []
        var open: (label: String, body: [UInt8])?
        for line in text.split(whereSeparator: { $0 == 0x0A || $0 == 0x0D }) {
            let line = trimmed(line)
            if let label = boundary(line, "-----BEGIN ") {
                guard open == nil else { throw PEMFault(position: blocks.count + 1, reason: "no END line") }
                open = labels.contains(label) ? (label, []) : nil
            } else if let (label, body) = open {
                if let end = boundary(line, "-----END ") {
                    guard end == label else { throw PEMFault(position: blocks.count + 1, reason: "bad END line") }
                    guard let der = Base64.decode(body), !der.isEmpty else {
                        throw PEMFault(position: blocks.count + 1, reason: "bad base64")
                    }
                    blocks.append(PEMBlock(label: label, der: der))
                    open = nil
                } else {
                    open?.body += line
                }
            }
        }
        guard open == nil else { throw PEMFault(position: blocks.count + 1, reason: "no END line") }
        return blocks
    }

    private static func trimmed(_ line: ArraySlice<UInt8>) -> ArraySlice<UInt8> {
        func isBlank(_ byte: UInt8) -> Bool { byte == 0x20 || byte == 0x09 }
        let line = line.drop(while: isBlank)
        return line[..<(line.lastIndex { !isBlank($0) }.map { $0 + 1 } ?? line.startIndex)]
    }

    private static func boundary(_ line: ArraySlice<UInt8>, _ start: String) -> String? {
        guard line.starts(with: start.utf8), line.count > start.utf8.count + 5,
            line.suffix(5).elementsEqual("-----".utf8)
        else { return nil }
        return String(decoding: line.dropFirst(start.utf8.count).dropLast(5), as: UTF8.self)
    }

    static func text(_ label: String, _ der: some Collection<UInt8>) -> [UInt8] {
        var body = Base64.encode(der)
        // It may be a private key.
        defer { body.withUnsafeMutableBytes { OPENSSL_cleanse($0.baseAddress, $0.count) } }
        var text = Array("-----BEGIN \(label)-----\n".utf8)
        text.reserveCapacity(body.count + body.count / 64 + 64)
        var start = 0
        while start < body.count {
            text += body[start..<min(start + 64, body.count)]
            text.append(0x0A)
            start += 64
        }
        text += Array("-----END \(label)-----\n".utf8)
        return text
    }
}

struct PEMFault: Error {
    /// The block, from 1.
    let position: Int
    let reason: String
}
