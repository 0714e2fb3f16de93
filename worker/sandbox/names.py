"""What the people of the made-up company are called, and the addresses that such names get."""

from __future__ import annotations

import unicodedata

DOMAIN = "acme.example"

_FIRST = """
Adaeze Agnieszka Ahmed Aiko Amélie Amina Ana Anders Andrea Anna Anton Aoife Arjun Astrid Ayşe Beatriz Ben Björn
Camila Carlos Chiara Chloé Daniel Daria David Dimitri Elena Elif Emeka Emma Erik Esther Fatima Felix Fiona François
Gabriel Giulia Grace Hana Hannah Hassan Hiroshi Ibrahim Ines Ingrid Isabel Ivan Jakub James Jan Jin João Jonas José
Joy Juan Julia Kai Karim Katarzyna Kenji Kofi Lars Laura Layla Lena Leon Liam Linh Lucía Luka Lukas Magda Maja Malik
Marek Maria Marta Mateo Maya Mehmet Mei Mia Michał Milan Min Mohamed Nadia Naomi Nia Nikolai Nina Noah Noor Núria
Olga Oliver Oluwaseun Omar Oscar Paolo Paul Petra Pilar Priya Rahul Raj Ravi Rosa Sakura Samir Samuel Sara Siobhán
Sofia Søren Stefan Sven Tariq Thandiwe Thomas Tomáš Uma Valentina Vera Victor Wei Wiktor Xin Yara Yuki Yusuf Zainab
Zuzana
"""
FIRST = tuple(_FIRST.split())

_LAST = """
Abbasi Adeyemi Ahmadi Almeida Álvarez Andersson Andersen Bakker Balogun Banerjee Bauer Becker Bennett Bernard
Bianchi Björk Borg Brandt Brown Byrne Campbell Carvalho Castillo Çelik Chanda Chen Chowdhury Clarke Colombo Costa
Cruz Da-Silva Dahl De-Vries Demir Diaz Doyle Dubois Dvořák Eriksen Estrada Evans Fernández Ferrari Fischer Fontaine
Fujita García Gomes González Greco Gupta Haddad Hansen Harris Hayashi Hernández Hoang Hoffmann Horvat Huang Hughes
Ibáñez Ito Ivanov Jansen Janssen Jensen Jiménez Johansson Jovanović Kang Kaplan Karlsson Kato Kaya Keller Khan Kim
Klein Kowalski Krishnan Kumar Kuznetsov Larsen Laurent Lee Lefèvre Lehtonen Levy Li Lima Lindqvist Lopes López
Lundgren Mahmoud Mäkinen Marino Martin Martínez Mbeki Meier Mendes Meyer Mishra Moreau Moretti Müller Murphy
Nakamura Ndiaye Nguyen Nielsen Nkosi Novák Nowak O'Brien O'Connor Okafor Okonkwo Olsen Öztürk Park Patel Pereira
Pérez Petrov Pham Popescu Quispe Rahman Ramírez Rao Reyes Ricci Rossi Rousseau Ruiz Saito Santos Sato Schmidt
Schneider Schulz Sharma Silva Singh Smith Sokolov Sousa Suzuki Svensson Takahashi Tan Tanaka Taylor Thomsen Torres
Tran Van-Dijk Vargas Virtanen Vogel Wagner Walker Wang Weber Wilson Wójcik Wright Yamamoto Yang Yıldız Young Zhang
Zhou Zieliński
"""
LAST = tuple(_LAST.split())

_NOT_DECOMPOSED = str.maketrans({"ß": "ss", "ø": "o", "Ø": "O", "ł": "l", "Ł": "L", "ı": "i", "'": ""})  # fmt: skip


def plain(text: str) -> str:
    """The ASCII letters that a name is typed with where accents are not at hand."""
    decomposed = unicodedata.normalize("NFKD", text.translate(_NOT_DECOMPOSED))
    return "".join(c for c in decomposed if not unicodedata.combining(c))


def address(local: str) -> str:
    return f"{local}@{DOMAIN}"
