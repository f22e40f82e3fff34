/* Keys for tests alone, and what OpenSSL signs with them (dgst -sha1 -sign). */
#pragma once

/* clang-format off */
#define TEST_KEY \
    "-----BEGIN RSA PRIVATE KEY-----\n" \
    "MIIEowIBAAKCAQEAtT1b065P+54WPdfZKU9ZSzQNlu0xn3/QSM6QyaBiLlyl1qN/\n" \
    "Ig1L4m0S8ISj+dWFUDA1mgxhfWi0FeHSG5w9NlaoL+kepJ6KXSAdUKYAcP+W2KPI\n" \
    "s2O6FCfes1uU8QQxa3hWATNxK1cBolmEwT8WmQzqnAPwkuhaUvw34rCgN/b5ymeY\n" \
    "DvOWWaZhJFovzgJEiMUp3ge7hzWhgCqwJ3+XEKjOCjhlpamIRnhcRH9EM1434q3+\n" \
    "XTEfXrwlA/Y8pBGoe5KfAAwCorRpx+Nn7TjL+ktqjgAlR2nXgKh6LjLmhKHflnS2\n" \
    "2pWQ+Cae6ZBjKyssW9QTthrSnuGBva5MEAY2JQIDAQABAoIBABYWzd/NUXM9z8Em\n" \
    "0xFdWek4BWX9L7ycU9Lj1jK0yPKUmSPBVofcbgDBQXst91xGQVLGJWpKkwE5ZyV5\n" \
    "meWCk9VRF3uLYpA2wG9cMCZ5rPkYtZZe0+HFSFMXjuV2Rn9ffvR1vKm1zte06X6T\n" \
    "gYIaAdOShu+P7VzCU+vkUJ1g4I4hZ1PBBOxL60CKI+aNOiaL4pBvVTwEuBCSPvXO\n" \
    "mRLP533T2kcdP2g2AXFY39Qv+1jfvDb4VIp5rNmyH5BqNA8Vq1K7nxHFZbrMpcEh\n" \
    "D8bhV3ebrc+pPRNvQtqmca4PV/+7QX3WK/NJcI/9EF502OHxSwOuU1xO7FbJXzdf\n" \
    "tSDVWBsCgYEA9i9jgsWp1FWxPEOx+nmQEJo4HSUHOJoOpiiaMC0uDWG0ijlXT6KJ\n" \
    "8aFNskMvwZPhmCa2ic1sz9t7leIFtIGBhjeGeXkGO/uLgDqsdA2qaw3WX+cByToM\n" \
    "o5Ki2+JI1Ef1jC+PRuKYzVvHS7NAXl9QRR9TQmw9VsZWehG2YpL8UkcCgYEAvHcf\n" \
    "8ezH12DPZBcXDApkrJcS1lq+hIUC+Pf5JbIUDljnmgw4GexzZP0BeV39TPnNIYOz\n" \
    "hlsJm8OT2VPI70uEBZmjktJXYB5TcOgAnV85Tnr+x4dPfJwKS8s88TXAPna1Kho6\n" \
    "KyiULGq5BZH4B8ig4MNXzuFnpZ3N92obob42njMCgYEAr4qs71OYvJJ59Znjr9G8\n" \
    "m0oMVyPPGVootexfvZiJrPsNbD5k9qDUsdot972WsPaMtxxrrqkvPKupXP+0x7hM\n" \
    "rnKrTbSxcFX2a/HqhDo2WW2dffbPvDfLSVvHCvk4qz3AZjyHcqkjAdO+sUjYzjIy\n" \
    "n4ctrEBYIKb+hL5aicF7cAMCgYBqS3m99gEEbbqqxgceqGH9obtjII0hqu9xQlLI\n" \
    "Ovbq3KPLk6a0oFK5G6WQMT2jA6T5iRFg7smti5JA2euTY3ETw4KpVW8obBI9tOxb\n" \
    "1hA5Pk+ic6OWMV/xPbCijuFdmZA2LdKu8tUXdB3kkV5l7XcnLaXBrgnKNAWtzK/G\n" \
    "+sRNVwKBgBcsmjzO5+ivYPWhWIONUudidKUlRJFKUN5bjG5bSZWSp0c9rJXqYwqE\n" \
    "DOxMd3G7meW+l9pAndHXBhNfSJ901KQCqOFmvXPrFS7wqhfLH2sbmoR2FlEgtSdq\n" \
    "C7p6qWSZq//w9OEkZQ45zy9bmd/K77hTGcoXQlR16xYecB02vI/c\n" \
    "-----END RSA PRIVATE KEY-----\n"
#define TEST_KEY_PKCS8 \
    "-----BEGIN PRIVATE KEY-----\n" \
    "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC1PVvTrk/7nhY9\n" \
    "19kpT1lLNA2W7TGff9BIzpDJoGIuXKXWo38iDUvibRLwhKP51YVQMDWaDGF9aLQV\n" \
    "4dIbnD02Vqgv6R6knopdIB1QpgBw/5bYo8izY7oUJ96zW5TxBDFreFYBM3ErVwGi\n" \
    "WYTBPxaZDOqcA/CS6FpS/DfisKA39vnKZ5gO85ZZpmEkWi/OAkSIxSneB7uHNaGA\n" \
    "KrAnf5cQqM4KOGWlqYhGeFxEf0QzXjfirf5dMR9evCUD9jykEah7kp8ADAKitGnH\n" \
    "42ftOMv6S2qOACVHadeAqHouMuaEod+WdLbalZD4Jp7pkGMrKyxb1BO2GtKe4YG9\n" \
    "rkwQBjYlAgMBAAECggEAFhbN381Rcz3PwSbTEV1Z6TgFZf0vvJxT0uPWMrTI8pSZ\n" \
    "I8FWh9xuAMFBey33XEZBUsYlakqTATlnJXmZ5YKT1VEXe4tikDbAb1wwJnms+Ri1\n" \
    "ll7T4cVIUxeO5XZGf19+9HW8qbXO17TpfpOBghoB05KG74/tXMJT6+RQnWDgjiFn\n" \
    "U8EE7EvrQIoj5o06JovikG9VPAS4EJI+9c6ZEs/nfdPaRx0/aDYBcVjf1C/7WN+8\n" \
    "NvhUinms2bIfkGo0DxWrUrufEcVlusylwSEPxuFXd5utz6k9E29C2qZxrg9X/7tB\n" \
    "fdYr80lwj/0QXnTY4fFLA65TXE7sVslfN1+1INVYGwKBgQD2L2OCxanUVbE8Q7H6\n" \
    "eZAQmjgdJQc4mg6mKJowLS4NYbSKOVdPoonxoU2yQy/Bk+GYJraJzWzP23uV4gW0\n" \
    "gYGGN4Z5eQY7+4uAOqx0DaprDdZf5wHJOgyjkqLb4kjUR/WML49G4pjNW8dLs0Be\n" \
    "X1BFH1NCbD1WxlZ6EbZikvxSRwKBgQC8dx/x7MfXYM9kFxcMCmSslxLWWr6EhQL4\n" \
    "9/klshQOWOeaDDgZ7HNk/QF5Xf1M+c0hg7OGWwmbw5PZU8jvS4QFmaOS0ldgHlNw\n" \
    "6ACdXzlOev7Hh098nApLyzzxNcA+drUqGjorKJQsarkFkfgHyKDgw1fO4Welnc33\n" \
    "ahuhvjaeMwKBgQCviqzvU5i8knn1meOv0bybSgxXI88ZWii17F+9mIms+w1sPmT2\n" \
    "oNSx2i33vZaw9oy3HGuuqS88q6lc/7THuEyucqtNtLFwVfZr8eqEOjZZbZ199s+8\n" \
    "N8tJW8cK+TirPcBmPIdyqSMB076xSNjOMjKfhy2sQFggpv6EvlqJwXtwAwKBgGpL\n" \
    "eb32AQRtuqrGBx6oYf2hu2MgjSGq73FCUsg69urco8uTprSgUrkbpZAxPaMDpPmJ\n" \
    "EWDuya2LkkDZ65NjcRPDgqlVbyhsEj207FvWEDk+T6Jzo5YxX/E9sKKO4V2ZkDYt\n" \
    "0q7y1Rd0HeSRXmXtdyctpcGuCco0Ba3Mr8b6xE1XAoGAFyyaPM7n6K9g9aFYg41S\n" \
    "52J0pSVEkUpQ3luMbltJlZKnRz2slepjCoQM7Ex3cbuZ5b6X2kCd0dcGE19In3TU\n" \
    "pAKo4Wa9c+sVLvCqF8sfaxuahHYWUSC1J2oLunqpZJmr//D04SRlDjnPL1uZ38rv\n" \
    "uFMZyhdCVHXrFh5wHTa8j9w=\n" \
    "-----END PRIVATE KEY-----\n"
#define TEST_PUB \
    "-----BEGIN PUBLIC KEY-----\n" \
    "MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAtT1b065P+54WPdfZKU9Z\n" \
    "SzQNlu0xn3/QSM6QyaBiLlyl1qN/Ig1L4m0S8ISj+dWFUDA1mgxhfWi0FeHSG5w9\n" \
    "NlaoL+kepJ6KXSAdUKYAcP+W2KPIs2O6FCfes1uU8QQxa3hWATNxK1cBolmEwT8W\n" \
    "mQzqnAPwkuhaUvw34rCgN/b5ymeYDvOWWaZhJFovzgJEiMUp3ge7hzWhgCqwJ3+X\n" \
    "EKjOCjhlpamIRnhcRH9EM1434q3+XTEfXrwlA/Y8pBGoe5KfAAwCorRpx+Nn7TjL\n" \
    "+ktqjgAlR2nXgKh6LjLmhKHflnS22pWQ+Cae6ZBjKyssW9QTthrSnuGBva5MEAY2\n" \
    "JQIDAQAB\n" \
    "-----END PUBLIC KEY-----\n"
#define TEST_OLD_KEY \
    "-----BEGIN RSA PRIVATE KEY-----\n" \
    "MIIEpQIBAAKCAQEAokZXWIGLY91y5eoIs2gOiwAlwcQ0IwNTUQ0FOaGhLOV7o1Ix\n" \
    "mx8PMcdcxsa5hKAu3tILIIqiPRZd8/heEo0hHdwRMXQVl1NDlo/gPJ8ax9JiXe4u\n" \
    "dZYrX3QNiWtzhj1HaYxpXqd7McW+8bn7wgh9hYvfQlABje4KZkTEQ3skzlkpi0oE\n" \
    "DT4Ft3IVJFZBLCstg7VIVok7acohfA4yq4HpkwEO0h9LGaw1iraba1g5IXaZiEun\n" \
    "+MK+3PhnuUACafYsVtcgKpU2Zlc6vZDD1gg8tpjFD1ArAU3564o2oM4Zwfwr7V/D\n" \
    "+Qu3kSw4PNmI2f98YI6DxHHYBoeJJ/E4Ey42lQIDAQABAoIBAByQ3uPm7BOAom8M\n" \
    "P4tbfEHmXP8q65WlSneoX9zZEc8eN6FUwQRCV7Gm23NnfLV24EFbvtcz6GLyCsh9\n" \
    "lovT+bowqPsoaPuaTfnVan8pb/SwmZ3Y5adP7+MuAgsIlg3RwD45mDvwJizpF1ek\n" \
    "qoep6HTHnl3lSRzDxGNj5BvP8/b57cG2EB2NPKP5qpgcQaf1BIuaPFhY9XtEi1eZ\n" \
    "EM+1XBmC5vkNorCfTR+fOMDhN+djxZwqfrhBK86IS0oS4tOXVZrt/4hGjhl1D4ND\n" \
    "Si5lbMwo55E2Z6EDliPiHVDU4D2eKSCfBKoMMhE0641HdWCXMCZfCvBkv9kicnCp\n" \
    "17Uu4sECgYEA2Sc3ApQOz85k8ZGMzWJc2LjoLmhEysVV5zm8vR2wt9pOKzvACe+u\n" \
    "aR2uT6+UoaMyX/U+n7SKSk1Wv6vdZdO0touubmHNxumYjScQ5Y/hupu2v4jgO4+V\n" \
    "ThhOJ1RN8ZBc1jGr396obpcvW9q3DILG5VTdeya1AULI7BF0pCFz/UECgYEAv03n\n" \
    "qVlVgZWh6PVArEu8RL8F7lHwGYqySlrOjp3zdbQJ8jS9SkobI6lxRKh8tIgtDCiT\n" \
    "Wy9QgJg3fKyBaHJTm27YsH2/T6qm/a+73ZfVuKx9KcaAEimG8Ki38oq2IeoKL2kT\n" \
    "PZDkD9suzJc8LDNZezZs1NwIIptf3zeN8zBDIFUCgYEAy4+6Pp2CYQUOlXEmt6V8\n" \
    "eeCkLlSqIBbqly4FopaBgWeQnXCObgIT0g/zxllGkFtGrrNcOCPq+woSxuyaR4k0\n" \
    "v2ajZnAikVOLIM69RSUiqmar4lKyOMM5aBLauH2L72Wv0U6Q2vSDmd/5kjauH3k8\n" \
    "b+ClGnvHc94iMUGPwQhnDcECgYEAipPyhphx+kbcXJacXLMYFGyT7UlptfbkpDwX\n" \
    "ePQuUkszEULnBBOeiTzLEkNC4rvqde5GoD0sAZtCRovnyjNXITcwvNi6ZwlloktU\n" \
    "uXatmPNKT6K9T2rJlzeA2K9mtDaHXkStbWGx81KBGi9LpXElFr4cJC2nrvoCfv4N\n" \
    "U+bYGWkCgYEA0jW3U0085f3+mdvptJooH6WgY9J0wlj7z+VRJKARpeAEZ0NLTECL\n" \
    "ANjJgv3zUt08EUyUtxU5khS/JqnRReCBvZFXFHV6Dq3AxKAriq9D/jzMYcy/MPbw\n" \
    "RgFJ0KxfHhSMYbzWg4sVwGE6oAJO+cGclXxcnLNGc0VFr3GMecIoH7A=\n" \
    "-----END RSA PRIVATE KEY-----\n"
#define TEST_OLD_PUB \
    "-----BEGIN PUBLIC KEY-----\n" \
    "MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAokZXWIGLY91y5eoIs2gO\n" \
    "iwAlwcQ0IwNTUQ0FOaGhLOV7o1Ixmx8PMcdcxsa5hKAu3tILIIqiPRZd8/heEo0h\n" \
    "HdwRMXQVl1NDlo/gPJ8ax9JiXe4udZYrX3QNiWtzhj1HaYxpXqd7McW+8bn7wgh9\n" \
    "hYvfQlABje4KZkTEQ3skzlkpi0oEDT4Ft3IVJFZBLCstg7VIVok7acohfA4yq4Hp\n" \
    "kwEO0h9LGaw1iraba1g5IXaZiEun+MK+3PhnuUACafYsVtcgKpU2Zlc6vZDD1gg8\n" \
    "tpjFD1ArAU3564o2oM4Zwfwr7V/D+Qu3kSw4PNmI2f98YI6DxHHYBoeJJ/E4Ey42\n" \
    "lQIDAQAB\n" \
    "-----END PUBLIC KEY-----\n"
/* at 0x65F00000 */
#define TEST_NOW 0x65F00000ll
#define TEST_TICKET \
    "PVE:root@pam:65F00000::bQgwi5K+DXPDN79mI9hVWSTbmAbcEhWrU3IWoHbsH70iQ8kXfiKpLevPxr4SCjByrLd" \
    "wK8QORrDYw8VJLCZEvyanQjtqQ9+/gNDXGxe7KIGexCaxrXREO6nlJOfGVnFrxLKobLla+VwLaYB/z4MeIV4CADx2h" \
    "qhdwUxnKMqXwpf/bm/EL3k9TeBu6QJGndRw7dDaFEvOSXhVHtkl2nzCA9xz4GUuEcCV25DxqHP18KW02QxOZabiOnQ" \
    "+r8r48w3jhblBP1Uh+Jcll9H2ZEMwVQoj8KQEQ5CGNpikqJompE17eemq7Z0cY3c0jzlxMgpz1wR/geMZRGIPDIv8h" \
    "awK9A=="
#define TEST_OLD_TICKET \
    "PVE:root@pam:65F00000::ABCcgJUTAZZQQ6nHVjxMoDM6t8mP+mHiOFGKfRuW7e20i/6xP50V1xuDwpWvGaE8PdO" \
    "Pr9T9OXj24bHjau07xFF4PTZ/YNwkY46E0awGcOUiwTkdb9gyy7aK+JvNXmkqA+fiHw/JmKvVt7EeBAIWprXd+ho4g" \
    "UqjElCrqgwLNHmfxnjS0/30z2FtLiHdleAzdj676ks4yiJnAPO7ViEBeLuBiAKpgrv8NVX06v5qpgS0oSJL+n+M0qo" \
    "C/T/HD5v2AAoyhjcWp+qXKWlvHZ7vNAOeKFj0Zpjr4HpI23L2kWgFpBXfIQMWc1YI9lIfPBO4lFXhHu4CqCa7adIIn" \
    "SGgGA=="
#define TEST_HALF_TICKET \
    "PVE:!tfa!%7B%22totp%22%3Atrue%7D:65F00000::WZr3KZe9uto0VTsuyjCzYo6rQZUQaLKK83BqF5UsP1mfHSm" \
    "gKb+TNtfdKbjGN//Wcn8/YTAgBotRxEY0VR3W4aYAnQQmUhKfXw6LOEQeyZTY/neEfX4MtVSajcK3bOfOoDC1I0/lk" \
    "MwWrEgjM9i+8KaTTyQvz4flzv0dlFed/J7/uPfPIVddN7NGrCTSeSfmH8oxfCDwTHUp4A24rK1BXTk5AGQPCE0/cVW" \
    "3+v5uuO2CJVteIkLXp3HkWpUN1NHClEofYkijO59S6mqh2y0wWdEIpVRpstEs41ToGOmQIW+RoHGUXrEejl4DXdLQZ" \
    "2hoyUiAX2LPBL7+P6ASxomtyA=="
#define TEST_WWW_KEY "some text\n"
#define TEST_CSRF "65F00000:Eb58NgYbPLaSw53OKUx5+AGT7gwpvH1SF80tWYXFOu4"
